use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};

use super::{Result, Store, StoreError, Upload};

/// How to reach a bucket. What is not given comes from AWS's standard chain: environment, profile,
/// web identity, instance.
#[derive(Clone, Default)]
pub struct BucketSettings {
    /// Its name.
    pub bucket: String,
    /// In front of every key, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Its region.
    pub region: Option<String>,
    /// Another S3-compatible service's address.
    pub endpoint: Option<String>,
    /// `endpoint/bucket/key` rather than `bucket.endpoint/key`.
    pub path_style: bool,
    /// Access key id and secret access key.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for BucketSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// A store in an S3 bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    settings: BucketSettings,
    /// Written beside new objects: an answer that was lost leaves it open whose they are.
    writer: String,
}

/// The name of the metadata that says who wrote an object.
const WRITER: &str = "writer";
/// A store that fails now and then must not end a backup of many hours.
const ATTEMPTS: u32 = 8;

/// Objects above this size go up in parts of it; S3 wants 5 MiB at least and 10,000 parts at most,
/// which leaves 80 GiB for one segment.
const PART: usize = 8 << 20;

impl Bucket {
    /// Reads the credential chain; the bucket is not asked yet.
    pub async fn open(settings: BucketSettings) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some((id, secret)) = &settings.credentials {
            let credentials = Credentials::new(id, secret, None, None, "settings");
            loader = loader.credentials_provider(SharedCredentialsProvider::new(credentials));
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let shared = loader.load().await;
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(settings.path_style)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if shared.region().is_none() {
            // S3-compatible services ignore it, and a signature can't be made without one.
            config = config.region(Region::new("us-east-1"));
        }
        if settings.endpoint.is_some() {
            // The SDK's CRC-32 trailers are more than other services than AWS's understand.
            config = config
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        let writer = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { client: Client::from_conf(config.build()), settings, writer }
    }

    fn key(&self, key: &str) -> String {
        match self.settings.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    fn fail<E, R>(&self, action: &'static str, key: &str, error: &SdkError<E, R>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug,
    {
        let place = self.place(key);
        match error.code() {
            Some("NoSuchKey" | "NotFound") => return StoreError::NotFound { place },
            Some("PreconditionFailed" | "ConditionalRequestConflict") => {
                return StoreError::Taken { place };
            }
            _ => {}
        }
        let why = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            _ => DisplayErrorContext(error).to_string(),
        };
        StoreError::Failed { action, place, why }
    }

    async fn read(&self, key: &str, range: Option<String>) -> Result<Bytes> {
        let request = self.client.get_object().bucket(&self.settings.bucket).key(self.key(key));
        let answer = request.set_range(range).send().await;
        let body = answer.map_err(|error| self.fail("reading", key, &error))?.body;
        let bytes = body.collect().await.map_err(|why| StoreError::Failed {
            action: "reading",
            place: self.place(key),
            why: why.to_string(),
        })?;
        Ok(bytes.into_bytes())
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        let request = self.client.put_object().bucket(&self.settings.bucket).key(self.key(key));
        let request = request.if_none_match("*").metadata(WRITER, &self.writer);
        let answer = request.body(ByteStream::from(body)).send().await;
        let answer = answer.map(drop).map_err(|error| self.fail("writing", key, &error));
        self.unless_ours(key, answer).await
    }

    /// A call that is made again after its answer was lost finds its own object there.
    async fn unless_ours(&self, key: &str, answer: Result<()>) -> Result<()> {
        let Err(StoreError::Taken { .. }) = answer else { return answer };
        let request = self.client.head_object().bucket(&self.settings.bucket).key(self.key(key));
        let found = request.send().await.map_err(|error| self.fail("reading", key, &error))?;
        let writer = found.metadata().and_then(|it| it.get(WRITER));
        if writer == Some(&self.writer) { Ok(()) } else { answer }
    }

    /// All keys, or all first parts, below a prefix, without the store's own prefix.
    async fn below(&self, prefix: &str, delimiter: Option<&str>) -> Result<Vec<String>> {
        let own = self.key("");
        let mut names = Vec::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.settings.bucket)
            .prefix(self.key(prefix))
            .set_delimiter(delimiter.map(str::to_owned))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.fail("listing", prefix, &error))?;
            let found: Vec<&str> = match delimiter {
                None => page.contents().iter().filter_map(|it| it.key()).collect(),
                Some(_) => page.common_prefixes().iter().filter_map(|it| it.prefix()).collect(),
            };
            let found = found.into_iter().filter_map(|it| it.strip_prefix(&own));
            names.extend(found.map(|it| it.trim_end_matches('/').to_owned()));
        }
        names.sort_unstable();
        Ok(names)
    }
}

#[async_trait]
impl Store for Bucket {
    fn place(&self, key: &str) -> String {
        format!("s3://{}/{}", self.settings.bucket, self.key(key))
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        let request = self.client.put_object().bucket(&self.settings.bucket).key(self.key(key));
        let answer = request.body(ByteStream::from(body)).send().await;
        answer.map(|_| ()).map_err(|error| self.fail("writing", key, &error))
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>> {
        let (bucket, key) = (self.clone(), key.to_owned());
        Ok(Box::new(Multipart { bucket, key, id: None, parts: Vec::new(), held: BytesMut::new() }))
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.read(key, None).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.read(key, Some(format!("bytes={}-{}", range.start, range.end - 1))).await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        let request = self.client.head_object().bucket(&self.settings.bucket).key(self.key(key));
        match request.send().await {
            Ok(facts) => Ok(facts.content_length().and_then(|it| u64::try_from(it).ok())),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => {
                Ok(None)
            }
            Err(error) => Err(self.fail("reading", key, &error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.below(prefix, None).await
    }

    async fn folders(&self) -> Result<Vec<String>> {
        self.below("", Some("/")).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let body = self.get(from).await?;
        self.put(to, body).await?;
        self.delete(from).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.settings.bucket);
        let answer = request.key(self.key(key)).send().await;
        answer.map(|_| ()).map_err(|error| self.fail("deleting", key, &error))
    }
}

/// An upload: small objects go up in one call, larger ones in parts.
struct Multipart {
    bucket: Bucket,
    key: String,
    id: Option<String>,
    parts: Vec<CompletedPart>,
    held: BytesMut,
}

#[async_trait]
impl Upload for Multipart {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.held.extend_from_slice(&bytes);
        while self.held.len() >= PART {
            let part = self.held.split_to(PART).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let rest = self.held.split().freeze();
        if self.id.is_none() {
            return self.bucket.put_new(&self.key, rest).await;
        }
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        let parts = std::mem::take(&mut self.parts);
        let answer = self
            .bucket
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket.settings.bucket)
            .key(self.bucket.key(&self.key))
            .set_upload_id(self.id.clone())
            .if_none_match("*")
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await;
        let answer = answer.map_err(|error| self.bucket.fail("writing", &self.key, &error));
        self.bucket.unless_ours(&self.key, answer.map(drop)).await?;
        self.id = None;
        Ok(())
    }
}

impl Multipart {
    async fn send(&mut self, body: Bytes) -> Result<()> {
        let (client, name) = (&self.bucket.client, &self.bucket.settings.bucket);
        let key = self.bucket.key(&self.key);
        if self.id.is_none() {
            let request = client.create_multipart_upload().bucket(name).key(&key);
            let answer = request.metadata(WRITER, &self.bucket.writer).send().await;
            let created = answer.map_err(|error| self.bucket.fail("writing", &self.key, &error))?;
            self.id = created.upload_id().map(str::to_owned);
        }
        let number = self.parts.len() as i32 + 1;
        let request = client.upload_part().bucket(name).key(&key).part_number(number);
        let answer =
            request.set_upload_id(self.id.clone()).body(ByteStream::from(body)).send().await;
        let sent = answer.map_err(|error| self.bucket.fail("writing", &self.key, &error))?;
        let tag = sent.e_tag().map(str::to_owned);
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(tag).build());
        Ok(())
    }
}

impl Drop for Multipart {
    /// Parts of an upload that never ends are paid for until someone aborts it.
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (bucket, key) = (self.bucket.clone(), self.bucket.key(&self.key));
        runtime.spawn(async move {
            let name = &bucket.settings.bucket;
            let request = bucket.client.abort_multipart_upload().bucket(name).key(&key);
            if let Err(error) = request.upload_id(id).send().await {
                let why = DisplayErrorContext(&error).to_string();
                tracing::warn!(key, why, "an unfinished upload could not be aborted");
            }
        });
    }
}
