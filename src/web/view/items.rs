//! The live feed's items: the contract's events in words and under their names in the ABI, and the operator's alerts.

use serde_json::{json, Map, Value};

use crate::lottery::alert::Severity;
use crate::lottery::event::{Argument, EventRecord};
use crate::lottery::snapshot::{LiveFeedItem, Snapshot};
use crate::web::view::{address, as_of, place, wei, with_finality};

pub(crate) fn feed_item(item: &LiveFeedItem) -> Value {
    match item {
        LiveFeedItem::Event(record) => {
            let mut body = json!({
                "id": item.id(),
                "type": record.event.name(),
                "message": record.event.sentence(),
                "details": event_args(record),
                "severity": Severity::Info.label(),
                "timestamp": record.position.block_timestamp,
            });
            place(&mut body, &record.position);
            body
        }
        LiveFeedItem::Alert(told) => json!({
            "id": told.id,
            "type": "operator_alert",
            "message": told.message,
            "details": {
                "code": told.code.label(),
                "state": told.state.label(),
                "roundId": told.round_id(),
            },
            "severity": told.severity.label(),
            "timestamp": told.unix_ms / 1000,
            "blockNumber": null,
            "transactionHash": null,
            "logIndex": null,
        }),
    }
}

/// GET /api/activities: newest first; None when `before` names no item of the feed.
pub fn activities(snapshot: &Snapshot, limit: usize, before: Option<&str>) -> Option<Value> {
    let mut items = snapshot.live_feed.iter().rev();
    if let Some(before) = before {
        items.find(|item| item.id() == before)?;
    }
    let labelled = |item: &LiveFeedItem| {
        let body = feed_item(item);
        match item {
            LiveFeedItem::Event(record) => {
                with_finality(body, &snapshot.finality, record.position.block_number)
            }
            LiveFeedItem::Alert(_) => {
                let mut body = body;
                body["finality"] = Value::Null;
                body
            }
        }
    };
    let page: Vec<Value> = items.by_ref().take(limit).map(labelled).collect();
    let more = items.next().is_some();
    let next_before = page.last().filter(|_| more).map(|item| item["id"].clone());
    Some(json!({"asOf": as_of(snapshot), "activities": page, "nextBefore": next_before}))
}

/// The event's arguments under their names in the ABI.
pub(crate) fn event_args(record: &EventRecord) -> Value {
    let arguments = record.event.arguments().into_iter();
    let mut args: Map<String, Value> = arguments
        .map(|(name, argument)| (name.to_owned(), argument_json(argument)))
        .collect();
    args.insert(
        "timestamp".to_owned(),
        json!(record.position.block_timestamp),
    );
    Value::Object(args)
}

fn argument_json(argument: Argument) -> Value {
    match argument {
        Argument::Number(number) => json!(number),
        Argument::Quantity(amount) => json!(wei(amount)),
        Argument::Address(account) => json!(address(account)),
        Argument::Text(text) => json!(text),
    }
}
