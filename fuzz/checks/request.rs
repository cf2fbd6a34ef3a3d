//! What a body asks is what another reader reads in it, and what is spliced means the same but for what was named.

use serde::de::IgnoredAny;
use serde_json::{json, Value};
use sluicegate::json::splice::Segment;
use sluicegate::request::{read, splice, Ask, Refusal};

/// The input is the body.
pub fn check(body: &[u8]) {
    match read(body, 64) {
        Ok(ask) => served(&ask, body),
        Err(refusal @ Refusal::InvalidJson(wrong)) => {
            assert!(wrong.at <= body.len());
            assert!(!refusal.to_string().is_empty());
            let too_deep = wrong.what.contains("nested");
            assert!(too_deep || serde_json::from_slice::<IgnoredAny>(body).is_err());
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty() && !refusal.code().is_empty());
            serde_json::from_slice::<IgnoredAny>(body).expect("what is not called invalid is valid");
        }
    }
}

fn served(ask: &Ask, body: &[u8]) {
    assert_eq!(body, joined(ask, body, Some(&ask.model), false, &[]));
    let spliced = joined(ask, body, Some("the \"target\""), true, &["f", "model"]);
    let (Ok(mut tree), Ok(after)) = (serde_json::from_slice::<Value>(body), serde_json::from_slice::<Value>(&spliced))
    else {
        // A lone surrogate or a number out of range, which only the other reader refuses.
        serde_json::from_slice::<IgnoredAny>(&spliced).expect("still valid");
        return;
    };
    assert_eq!(tree["model"], ask.model.as_str());
    assert_eq!(tree["stream"] == true, ask.stream);
    assert_eq!(tree["stream_options"]["include_usage"] == true, ask.wants_usage());
    tree["model"] = json!("the \"target\"");
    tree["stream_options"]["include_usage"] = json!(true);
    tree.as_object_mut().expect("an object").remove("f");
    assert_eq!(tree, after);
}

fn joined(ask: &Ask, body: &[u8], model: Option<&str>, include_usage: bool, consumed: &[&str]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    for segment in splice(ask, body, model, include_usage, consumed).expect("the same body") {
        match segment {
            Segment::Text(span) => {
                assert!(at <= span.start && span.start < span.end);
                at = span.end;
                out.extend_from_slice(&body[span]);
            }
            Segment::New(bytes) => out.extend_from_slice(&bytes),
        }
    }
    out
}
