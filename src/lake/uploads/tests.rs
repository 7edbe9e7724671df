//! The reader of answers, and the requests that are sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use url::Url;

use super::*;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>lake</Bucket><KeyMarker/>";
const TAIL: &str = "</ListMultipartUploadsResult>";

fn upload(key: &str, id: &str, at: &str) -> String {
    format!(
        "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiator><ID>me</ID></Initiator><Owner><ID>me</ID></Owner>\
         <Initiated>{at}</Initiated></Upload>"
    )
}

fn page(next: Option<(&str, &str)>, uploads: &[String]) -> String {
    let next = match next {
        None => "<IsTruncated>false</IsTruncated>".to_owned(),
        Some((key, id)) => format!(
            "<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker><IsTruncated>true</IsTruncated>"
        ),
    };
    format!("{HEAD}{next}{}{TAIL}", uploads.concat())
}

#[test]
fn a_page_is_read_with_its_entities_and_where_the_next_begins() {
    let key = "shop/a&amp;b &lt;&#65;&#x42;&gt; &quot;&apos;";
    let text = page(Some(("shop/a&amp;b", "i&amp;1")), &[upload(key, "i 1", "2026-03-01T20:48:33.000Z")]);
    let read = answer::uploads(text.as_bytes()).unwrap();
    assert_eq!(read.next, Some(answer::Marker { key: "shop/a&b".to_owned(), id: "i&1".to_owned() }));
    assert_eq!(read.uploads.len(), 1);
    assert_eq!(read.uploads[0].key, "shop/a&b <AB> \"'");
    assert_eq!(read.uploads[0].id, "i 1");
    assert_eq!(read.uploads[0].began_at.to_rfc3339(), "2026-03-01T20:48:33+00:00");
    // Line breaks between elements, comments and words as they stand, as other stores write.
    let text = format!(
        "\u{feff}<!-- > -->\n{HEAD}\n  <Upload x='>'>\n<Key><![CDATA[a&b]]></Key>\n<UploadId>i</UploadId >\n\
         <Initiated>2026-03-01T20:48:33Z</Initiated></Upload>\n<IsTruncated>false</IsTruncated>{TAIL}\n"
    );
    let read = answer::uploads(text.as_bytes()).unwrap();
    assert_eq!((read.uploads[0].key.as_str(), read.next), ("a&b", None));
}

#[test]
fn a_text_that_is_cut_off_anywhere_is_an_error() {
    let text = page(Some(("b&amp;c", "2")), &[upload("a&amp;b", "1", "2026-03-01T20:48:33.000Z")]);
    answer::uploads(text.as_bytes()).unwrap();
    for end in 0..text.len() {
        answer::uploads(&text.as_bytes()[..end]).unwrap_err();
    }
}

#[test]
fn what_is_not_such_an_answer_is_an_error() {
    let at = "2026-03-01T20:48:33.000Z";
    let whole = page(None, &[upload("a", "1", at)]);
    for (what, instead) in [
        ("<IsTruncated>false</IsTruncated>", ""),
        ("false", "perhaps"),
        ("false", "true"),
        ("<Key>a</Key>", ""),
        ("<UploadId>1</UploadId>", ""),
        (at, "yesterday"),
        ("<Key>a", "<Key>&nbsp;"),
        ("<Key>a", "<Key>&#+65;"),
        ("<Key>a", "<Key>&#xD800;"),
        ("<Key>a", "<Key>a & b"),
        ("</Key>", "</UploadId>"),
        ("<Key>", "< Key>"),
        ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "<!DOCTYPE a>"),
        (TAIL, "</ListMultipartUploadsResult><ListMultipartUploadsResult/>"),
        (TAIL, "</ListMultipartUploadsResult>more"),
        ("ListMultipartUploadsResult", "ListPartsResult"),
        ("<Key>a", &"<a>".repeat(100_000)),
    ] {
        assert!(whole.contains(what), "{what}");
        answer::uploads(whole.replace(what, instead).as_bytes()).unwrap_err();
    }
    answer::uploads(b"\xff").unwrap_err();
    answer::uploads(b"").unwrap_err();
    assert_eq!(answer::code(b"<Error><Code>AccessDenied</Code></Error>").as_deref(), Some("AccessDenied"));
    assert_eq!(answer::code(b"<Error><Code>a person</Code></Error>"), None);
    assert_eq!(answer::code(b"no"), None);
}

#[test]
fn parts_are_summed() {
    let text = "<ListPartsResult><NextPartNumberMarker>2</NextPartNumberMarker><IsTruncated>true</IsTruncated>\
                <Part><PartNumber>1</PartNumber><Size>5</Size></Part><Part><Size>6</Size></Part></ListPartsResult>";
    assert_eq!(answer::parts(text.as_bytes()).unwrap(), answer::Parts { bytes: 11, next: Some(2) });
    answer::parts(text.replace(">5<", "><").as_bytes()).unwrap_err();
}

/// A store that answers what it is told to, and keeps what it was asked.
#[derive(Debug, Clone, Default)]
struct Told {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<HttpRequest>>>,
}

#[async_trait]
impl HttpService for Told {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.asked.lock().unwrap().push(request);
        let (status, body) = self.answers.lock().unwrap().pop_front().unwrap();
        let mut answer = HttpResponse::new(body.into());
        *answer.status_mut() = status.try_into().unwrap();
        Ok(answer)
    }
}

impl HttpConnector for Told {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl Told {
    /// The addresses that were asked.
    fn addresses(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|request| request.uri().to_string()).collect()
    }

    fn header(&self, name: &str) -> Option<String> {
        let asked = self.asked.lock().unwrap();
        Some(asked[0].headers().get(name)?.to_str().unwrap().to_owned())
    }
}

/// A lake in a bucket that answers as it is told.
fn lake(url: &str, options: &[(&str, &str)], answers: &[(u16, String)]) -> (Lake, Told) {
    let url = Url::parse(url).unwrap();
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (store, bucket) = open(&url, options).unwrap();
    let told = Told::default();
    told.answers.lock().unwrap().extend(answers.iter().cloned());
    let bucket = bucket.map(|bucket| Bucket { connector: Arc::new(told.clone()), ..bucket });
    (Lake::in_bucket(&url, store, bucket).unwrap(), told)
}

const KEYS: [(&str, &str); 3] =
    [("aws_access_key_id", "test"), ("aws_secret_access_key", "secret"), ("aws_region", "eu-west-1")];

#[tokio::test]
async fn all_pages_are_asked_for_and_only_what_is_below_the_lake_is_told() {
    let pages = [
        (200, page(Some(("shop/b=1", "2/+")), &[upload("shop/b=1", "2/+", "2026-03-02T00:00:00Z")])),
        // A store for the moment, and one that knows no prefix.
        (503, String::new()),
        (
            200,
            page(
                None,
                &[upload("shop/a", "1", "2026-03-01T00:00:00Z"), upload("shop-two/c", "3", "2026-03-01T00:00:00Z")],
            ),
        ),
    ];
    let (lake, told) = lake("s3://lake/shop", &[&KEYS[..], &[("aws_session_token", "token")]].concat(), &pages);
    let uploads = lake.unfinished_uploads().await.unwrap().unwrap();
    let paths: Vec<&str> = uploads.iter().map(|upload| upload.path.as_str()).collect();
    assert_eq!(paths, ["a", "b=1"], "the oldest first");
    let first = "https://s3.eu-west-1.amazonaws.com/lake?uploads&prefix=shop%2F";
    let second = format!("{first}&key-marker=shop%2Fb%3D1&upload-id-marker=2%2F%2B");
    assert_eq!(told.addresses(), [first, &second, &second]);
    let signature = told.header("authorization").unwrap();
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=test/"), "{signature}");
    assert!(signature.contains("/eu-west-1/s3/aws4_request"), "{signature}");
    assert_eq!(told.header("x-amz-security-token").as_deref(), Some("token"));
    assert!(lake.answers() >= 3, "a long listing is no store that stands still");
}

#[tokio::test]
async fn a_listing_that_goes_round_is_an_error() {
    let round = (200, page(Some(("shop/a", "1")), &[upload("shop/a", "1", "2026-03-01T00:00:00Z")]));
    let (lake, _) = lake("s3://lake/shop", &KEYS, &[round.clone(), round]);
    assert!(lake.unfinished_uploads().await.unwrap_err().to_string().contains("do not end"));
}

#[tokio::test]
async fn the_bucket_is_asked_where_the_store_is() {
    let whole = [(200, page(None, &[]))];
    let asked = async |url: &str, options: &[(&str, &str)]| {
        let (lake, told) = lake(url, &[&KEYS[..], options].concat(), &whole);
        assert_eq!(lake.unfinished_uploads().await.unwrap(), Some(Vec::new()));
        (told.addresses().remove(0), told.header("authorization").is_some())
    };
    let signed = |address: &str| (address.to_owned(), true);
    assert_eq!(asked("s3://lake", &[]).await, signed("https://s3.eu-west-1.amazonaws.com/lake?uploads&prefix="));
    let hosted = ("aws_virtual_hosted_style_request", "true");
    assert_eq!(asked("s3://lake", &[hosted]).await, signed("https://lake.s3.eu-west-1.amazonaws.com/?uploads&prefix="));
    let endpoint = ("aws_endpoint", "http://minio:9000/");
    assert_eq!(asked("s3a://lake/a/b", &[endpoint]).await, signed("http://minio:9000/lake?uploads&prefix=a%2Fb%2F"));
    let endpoint = ("aws_endpoint_url", "https://lake.example.com");
    assert_eq!(asked("s3://lake", &[endpoint, hosted]).await, signed("https://lake.example.com/?uploads&prefix="));
    let unsigned = ("aws_skip_signature", "true");
    assert!(!asked("s3://lake", &[unsigned]).await.1);
    let account = r#"{"private_key": "none", "private_key_id": "none", "client_email": "none", "disable_oauth": true}"#;
    let account = ("google_service_account_key", account);
    assert_eq!(
        asked("gs://lake/a", &[account]).await,
        signed("https://storage.googleapis.com/lake?uploads&prefix=a%2F")
    );
}

#[tokio::test]
async fn a_refusal_names_the_permission() {
    let denied = (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned());
    let (lake, _) = lake("s3://lake/shop", &KEYS, &[denied.clone(), denied]);
    let error = lake.unfinished_uploads().await.unwrap_err();
    assert_eq!((error.code(), error.hint()), ("lake.denied", Some("allow `s3:ListBucketMultipartUploads`")));
    assert!(error.to_string().contains("403 AccessDenied"), "{error}");
    let key = "shop/a".to_owned();
    let upload = Upload { path: "a".to_owned(), began_at: DateTime::UNIX_EPOCH, key, id: "1".to_owned() };
    let error = lake.uploads_bytes(&[upload]).await.unwrap_err();
    assert_eq!(error.hint(), Some("allow `s3:ListMultipartUploadParts`"));
}

#[tokio::test]
async fn bytes_are_those_of_all_parts() {
    let parts = |size: u64, next: Option<u64>| {
        let next = next.map_or_else(String::new, |next| format!("<NextPartNumberMarker>{next}</NextPartNumberMarker>"));
        let truncated = !next.is_empty();
        let part = format!("<Part><Size>{size}</Size></Part>");
        (200, format!("<ListPartsResult>{next}<IsTruncated>{truncated}</IsTruncated>{part}</ListPartsResult>"))
    };
    let gone = (404, "<Error><Code>NoSuchUpload</Code></Error>".to_owned());
    let (lake, told) = lake("s3://lake/shop", &KEYS, &[parts(5, Some(1)), parts(7, None), gone]);
    let upload = |key: &str| {
        let (path, key) = (key.to_owned(), format!("shop/{key}"));
        Upload { path, began_at: DateTime::UNIX_EPOCH, key, id: "1+".to_owned() }
    };
    assert_eq!(lake.uploads_bytes(&[upload("as_of=1/a b"), upload("gone")]).await.unwrap(), 12);
    let object = "https://s3.eu-west-1.amazonaws.com/lake/shop/as_of%3D1/a%20b?uploadId=1%2B";
    assert_eq!(told.addresses()[..2], [object.to_owned(), format!("{object}&part-number-marker=1")]);
    let error = lake.abort_upload(&upload("ends/with/")).await.unwrap_err();
    assert_eq!(error.code(), "lake.path", "it is not taken for another");
}

#[tokio::test]
async fn a_store_without_such_a_listing_has_none() {
    let account = [("azure_storage_account_name", "account"), ("azure_storage_account_key", "c2VjcmV0")];
    let (lake, _) = lake("az://lake/shop", &account, &[]);
    assert_eq!(lake.unfinished_uploads().await.unwrap(), None);
    assert_eq!(crate::lake::testing::memory().unfinished_uploads().await.unwrap(), None);
}
