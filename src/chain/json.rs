//! What a node answers, as JSON that is read once and copied nowhere: the text stays as it came, beside it stands one list of
//! what it says and where. A long answer of logs costs two allocations that way, and not one for each name and value.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value of an answer, with all below it; clones share the answer.
#[derive(Clone)]
pub struct Json {
    document: Arc<Document>,
    at: usize,
}

/// A look at a value.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    document: &'a Document,
    /// None for what is not there, which reads as null.
    at: Option<usize>,
}

#[derive(Default)]
struct Document {
    text: String,
    /// Strings that do not stand in the text as they are: those with escapes.
    unescaped: String,
    /// Each value before what it holds; a name before what it names.
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Fraction(f64),
    Text(Span),
    Unescaped(Span),
    /// They hold what follows, up to this node.
    List(u32),
    Object(u32),
}

impl Node {
    /// How many bytes a string has.
    fn len(self) -> usize {
        match self {
            Node::Text(span) | Node::Unescaped(span) => (span.to - span.from) as usize,
            _ => 0,
        }
    }
}

/// Of bytes.
#[derive(Clone, Copy)]
struct Span {
    from: u32,
    to: u32,
}

impl Document {
    fn text_of(&self, node: Node) -> Option<&str> {
        let (text, span) = match node {
            Node::Text(span) => (&self.text, span),
            Node::Unescaped(span) => (&self.unescaped, span),
            _ => return None,
        };
        text.get(span.from as usize..span.to as usize)
    }

    fn node(&self, at: usize) -> Node {
        self.nodes.get(at).copied().unwrap_or(Node::Null)
    }

    /// The node behind this one and all that it holds.
    fn behind(&self, at: usize) -> usize {
        match self.node(at) {
            Node::List(end) | Node::Object(end) => end as usize,
            _ => at + 1,
        }
    }
}

impl Json {
    /// The JSON that `bytes` begin with; an object or a list shows its own end, behind anything else nothing may follow.
    ///
    /// # Errors
    /// The bytes, where they do not begin with JSON.
    pub(crate) fn begun_by(mut bytes: Vec<u8>) -> Result<Json, Vec<u8>> {
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                // What follows the end of an object may be anything.
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(valid).unwrap_or_default()
            }
        };
        let is_whole = text.len() == bytes.len();
        let mut reader = serde_json::Deserializer::from_str(text);
        let Ok(mut document) = Document::read(text, &mut reader) else {
            return Err(bytes);
        };
        let shows_its_end = matches!(document.node(0), Node::List(_) | Node::Object(_));
        let is_ended = shows_its_end || is_whole && reader.end().is_ok();
        if !is_ended {
            return Err(bytes);
        }
        let len = text.len();
        bytes.truncate(len);
        document.text = String::from_utf8(bytes).map_err(|error| error.into_bytes())?;
        Ok(document.into())
    }

    pub(crate) fn part(&self) -> Part<'_> {
        Part {
            document: &self.document,
            at: Some(self.at),
        }
    }

    /// The same as a value of its own, for what is seldom looked at.
    pub fn to_value(&self) -> Value {
        self.part().to_value()
    }

    /// The value under this name; None where there is none.
    pub(crate) fn get(&self, name: &str) -> Option<Json> {
        let at = self.part().at(name).at?;
        Some(Json {
            document: self.document.clone(),
            at,
        })
    }

    /// What a list holds; None of anything else.
    pub(crate) fn items(&self) -> Option<Vec<Json>> {
        let items = self.part().items()?.map(|item| Json {
            document: self.document.clone(),
            at: item.at.unwrap_or(usize::MAX),
        });
        Some(items.collect())
    }
}

impl From<Document> for Json {
    fn from(document: Document) -> Json {
        Json {
            document: Arc::new(document),
            at: 0,
        }
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Json {
        // A value that is in memory is one: nothing of it can fail.
        Document::read("", value).unwrap_or_default().into()
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        Json::from(&value)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(&self.part(), formatter)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(&self.part(), formatter)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        self.to_value() == other.to_value()
    }
}

impl<'a> Part<'a> {
    fn node(self) -> Node {
        self.at.map_or(Node::Null, |at| self.document.node(at))
    }

    fn with(self, at: usize) -> Part<'a> {
        Part {
            at: Some(at),
            ..self
        }
    }

    /// What an object has under this name, the last of it where there is more than one; null where it has none.
    pub(crate) fn at(self, name: &str) -> Part<'a> {
        // Most names differ in how long they are.
        let is_it =
            |node: Node| node.len() == name.len() && self.document.text_of(node) == Some(name);
        let found = self.names().filter(|at| is_it(self.document.node(*at)));
        Part {
            at: found.last().map(|at| at + 1),
            ..self
        }
    }

    /// Names and values of an object; none of anything else.
    fn fields(self) -> impl Iterator<Item = (&'a str, Part<'a>)> {
        let name = move |at| self.document.text_of(self.document.node(at));
        self.names()
            .map(move |at| (name(at).unwrap_or_default(), self.with(at + 1)))
    }

    /// Where the names of an object stand, each before its value.
    fn names(self) -> impl Iterator<Item = usize> + 'a {
        let (mut next, end) = match (self.at, self.node()) {
            (Some(at), Node::Object(end)) => (at + 1, end as usize),
            _ => (0, 0),
        };
        std::iter::from_fn(move || {
            let name = (next < end).then_some(next)?;
            next = self.document.behind(name + 1);
            Some(name)
        })
    }

    /// What a list holds; None of anything else.
    pub(crate) fn items(self) -> Option<impl Iterator<Item = Part<'a>>> {
        let (Some(mut at), Node::List(end)) = (self.at.map(|at| at + 1), self.node()) else {
            return None;
        };
        Some(std::iter::from_fn(move || {
            let item = (at < end as usize).then(|| self.with(at))?;
            at = self.document.behind(at);
            Some(item)
        }))
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self.node(), Node::Null)
    }

    pub(crate) fn is_object(self) -> bool {
        matches!(self.node(), Node::Object(_))
    }

    pub(crate) fn as_str(self) -> Option<&'a str> {
        self.document.text_of(self.node())
    }

    pub(crate) fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(known) => Some(known),
            _ => None,
        }
    }

    pub(crate) fn as_u64(self) -> Option<u64> {
        match self.node() {
            Node::Unsigned(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn as_f64(self) -> Option<f64> {
        match self.node() {
            Node::Unsigned(number) => Some(number as f64),
            Node::Signed(number) => Some(number as f64),
            Node::Fraction(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn to_value(self) -> Value {
        match self.node() {
            Node::Null => Value::Null,
            Node::Bool(known) => Value::Bool(known),
            Node::Unsigned(number) => Value::from(number),
            Node::Signed(number) => Value::from(number),
            Node::Fraction(number) => Value::from(number),
            Node::Text(_) | Node::Unescaped(_) => Value::from(self.as_str().unwrap_or_default()),
            Node::List(_) => {
                let items = self.items().into_iter().flatten();
                Value::Array(items.map(Part::to_value).collect())
            }
            Node::Object(_) => {
                let mut fields = Map::new();
                for (name, value) in self.fields() {
                    fields.insert(name.to_owned(), value.to_value());
                }
                Value::Object(fields)
            }
        }
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(&self.to_value(), formatter)
    }
}

impl Document {
    /// Reads a value whose strings stand in `text`, or elsewhere.
    fn read<'de, D: Deserializer<'de>>(text: &str, reader: D) -> Result<Document, D::Error> {
        let mut document = Document::default();
        document.nodes.reserve(text.len() / 32);
        let place = (text.as_ptr() as usize, text.len());
        let taken = Taking {
            document: &mut document,
            place,
        };
        taken.deserialize(reader)?;
        Ok(document)
    }
}

/// Takes what is read down, value by value.
struct Taking<'a> {
    document: &'a mut Document,
    /// Where the text begins, and how long it is.
    place: (usize, usize),
}

impl Taking<'_> {
    fn below(&mut self) -> Taking<'_> {
        Taking {
            document: &mut *self.document,
            place: self.place,
        }
    }

    fn add<E: Error>(self, node: Node) -> Result<(), E> {
        self.document.nodes.push(node);
        Ok(())
    }

    fn count<E: Error>(&self) -> Result<u32, E> {
        narrow(self.document.nodes.len())
    }
}

fn narrow<E: Error>(number: usize) -> Result<u32, E> {
    u32::try_from(number).map_err(|_| E::custom("too long"))
}

fn span<E: Error>(from: usize, len: usize) -> Result<Span, E> {
    Ok(Span {
        from: narrow(from)?,
        to: narrow(from + len)?,
    })
}

impl<'de> DeserializeSeed<'de> for Taking<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Taking<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.add(Node::Null)
    }

    fn visit_bool<E: Error>(self, known: bool) -> Result<(), E> {
        self.add(Node::Bool(known))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.add(Node::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        let node = u64::try_from(number).map_or(Node::Signed(number), Node::Unsigned);
        self.add(node)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.add(Node::Fraction(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        let (start, len) = self.place;
        let from = (text.as_ptr() as usize).wrapping_sub(start);
        match from.checked_add(text.len()) {
            Some(to) if to <= len => self.add(Node::Text(span(from, text.len())?)),
            _ => self.visit_str(text),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let from = self.document.unescaped.len();
        self.document.unescaped.push_str(text);
        self.add(Node::Unescaped(span(from, text.len())?))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let list = self.document.nodes.len();
        self.below().add(Node::List(0))?;
        while items.next_element_seed(self.below())?.is_some() {}
        self.document.nodes[list] = Node::List(self.count()?);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        let object = self.document.nodes.len();
        self.below().add(Node::Object(0))?;
        while fields.next_key_seed(self.below())?.is_some() {
            fields.next_value_seed(self.below())?;
        }
        self.document.nodes[object] = Node::Object(self.count()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
