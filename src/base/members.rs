//! A JSON object as it was written: serde's own maps keep only the last of several members with one name. What a second one
//! means is for the reader to say.

use std::fmt::{Formatter, Result as FmtResult};
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An object's members in their order, each as often as it was given.
pub(crate) struct Members<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<V>, D::Error> {
        deserializer.deserialize_map(AsGiven(PhantomData))
    }
}

struct AsGiven<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for AsGiven<V> {
    type Value = Members<V>;

    fn expecting(&self, formatter: &mut Formatter) -> FmtResult {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<V>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
