//! What the doctor says of a bucket: uploads that were begun and never completed, and the rules that it should have.

use url::Url;

use super::{Examined, shown};
use crate::lake::Lake;
use crate::lake::uploads::Upload;

/// The bytes of no more uploads are asked for: each is a request.
const ASKED: usize = 100;

/// Looks for uploads that no listing of objects shows. Where they can be listed, upkeep takes them away; elsewhere the bucket's
/// own rule has to.
pub(super) async fn examine(examined: &mut Examined, lake: &Lake) {
    match lake.unfinished_uploads().await {
        Ok(Some(uploads)) => {
            tell(examined, lake, &uploads).await;
            examined.fact(
                "lifecycle rules",
                "none is needed, as `alluvial vacuum` aborts such uploads; none may delete or move what is below the lake",
            );
        }
        Ok(None) => rule(examined, lake.url()),
        Err(error) => {
            let help = error.hint().unwrap_or("the store may not list uploads at all: set the rule below");
            examined.look("unfinished uploads", &error.to_string(), help);
            rule(examined, lake.url());
        }
    }
}

async fn tell(examined: &mut Examined, lake: &Lake, uploads: &[Upload]) {
    let Some(oldest) = uploads.first() else {
        return examined.fact("unfinished uploads", "none that the bucket lists");
    };
    let bytes = match uploads.len() <= ASKED {
        true => lake.uploads_bytes(uploads).await.ok(),
        false => None,
    };
    let bytes = bytes.map_or_else(String::new, |bytes| format!(" with {}", shown(bytes)));
    examined.look(
        "unfinished uploads",
        &format!("{}{bytes}, the oldest begun on {}", uploads.len(), oldest.began_at.to_rfc3339()),
        "`alluvial vacuum` aborts those that were begun more than a day ago; younger ones may be of a run",
    );
}

fn rule(examined: &mut Examined, lake: &Url) {
    let (said, help) = rules(lake);
    examined.look("lifecycle rules", said, &help);
}

/// What becomes of uploads that were begun and never completed, by the kind of store, and what to set once.
fn rules(lake: &Url) -> (&'static str, String) {
    let place = lake.host_str().unwrap_or_default();
    let invisible = "uploads that a killed writer began and never completed are invisible, and are paid for";
    match lake.scheme() {
        "s3" | "s3a" => (
            invisible,
            format!(
                "set this rule once, and none that expires objects: `aws s3api put-bucket-lifecycle-configuration --bucket \
                 {place} --lifecycle-configuration '{S3_RULE}'`"
            ),
        ),
        "gs" => (
            invisible,
            format!(
                "write `{GS_RULE}` to rule.json and set it once, with no rule that deletes objects: `gcloud storage buckets \
                 update gs://{place} --lifecycle-file=rule.json`"
            ),
        ),
        _ => (
            "Azure itself drops the blocks of unfinished uploads after a week",
            "give the container no rule that deletes blobs of the lake".to_owned(),
        ),
    }
}

/// What `put-bucket-lifecycle-configuration` takes.
const S3_RULE: &str = r#"{"Rules":[{"ID":"abort-incomplete-uploads","Status":"Enabled","Filter":{"Prefix":""},"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":1}}]}"#;
/// What `gcloud storage buckets update --lifecycle-file` takes.
const GS_RULE: &str = r#"{"rule":[{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{"age":1}}]}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_told_the_rule_that_takes_unfinished_uploads_away() {
        for rule in [S3_RULE, GS_RULE] {
            serde_json::from_str::<serde_json::Value>(rule).unwrap();
        }
        let of = |url: &str| rules(&Url::parse(url).unwrap());
        let (said, help) = of("s3://shop-lake/prod/");
        assert!(said.contains("never completed"));
        assert!(help.contains("--bucket shop-lake ") && help.contains(S3_RULE), "{help}");
        let (_, help) = of("gs://shop-lake/");
        assert!(help.contains(GS_RULE) && help.contains("gs://shop-lake "), "{help}");
        let (said, help) = of("az://lake/");
        assert!(said.contains("after a week") && help.contains("no rule that deletes"));
    }
}
