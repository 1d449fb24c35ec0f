use std::collections::{BTreeMap, HashMap};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::{Address, Connection, Error, Result, Security};

/// A cluster, known by some of its brokers. Cheap to clone; every caller gets its own connections.
#[derive(Debug, Clone)]
pub struct Cluster {
    bootstrap: Vec<Address>,
    security: Security,
}

/// What a cluster says of itself.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// `cluster.id`.
    pub cluster_id: Option<String>,
    /// The broker that takes admin requests.
    pub controller: Option<Address>,
    /// The brokers, by node id.
    pub brokers: HashMap<i32, Address>,
    /// The topics, by name.
    pub topics: BTreeMap<String, TopicMetadata>,
}

/// A topic.
#[derive(Debug, Clone, Default)]
pub struct TopicMetadata {
    /// Its id (KIP-516), where the cluster gives ids.
    pub id: Option<String>,
    /// Whether it is Kafka's own.
    pub internal: bool,
    /// Partition number to the node id of its leader, -1 without one.
    pub leaders: BTreeMap<i32, i32>,
    /// How many replicas its partitions have.
    pub replication_factor: i16,
}

/// A topic to create.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas; -1 for the broker's default.
    pub replication_factor: i16,
    /// Topic configs.
    pub configs: BTreeMap<String, String>,
}

/// What became of a topic to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New,
    /// It was there.
    Existed,
}

/// Config entries that were set on the topic itself rather than on the broker (KIP-226).
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
/// The resource type of a topic.
const TOPIC: i8 = 2;
const CREATE_TIMEOUT_MS: i32 = 30_000;

impl Cluster {
    /// Names the brokers to begin with; none is asked yet.
    pub fn new(bootstrap: Vec<Address>, security: Security) -> Self {
        Self { bootstrap, security }
    }

    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    /// Connects to the first bootstrap server that answers.
    pub async fn connect(&self) -> Result<Connection> {
        let mut reasons = Vec::new();
        for address in &self.bootstrap {
            match Connection::open(address, &self.security).await {
                Ok(connection) => return Ok(connection),
                Err(error @ Error::Connection { .. }) => reasons.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Bootstrap { reasons })
    }

    /// The names of the features that a bootstrap server says it supports (KIP-584).
    pub async fn features(&self) -> Result<Vec<String>> {
        Ok(self.connect().await?.features().to_vec())
    }

    /// All topics, or those named.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<Metadata> {
        let mut connection = self.connect().await?;
        let wanted = topics.map(|names| {
            let named = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic(name)));
            names.iter().map(named).collect()
        });
        let request =
            MetadataRequest::default().with_topics(wanted).with_allow_auto_topic_creation(false);
        let answer = connection.call(&request).await?;
        let mut metadata = Metadata {
            cluster_id: answer.cluster_id.map(|it| it.to_string()),
            ..Metadata::default()
        };
        for broker in answer.brokers {
            let port = u16::try_from(broker.port).unwrap_or(0);
            let address = Address { host: broker.host.to_string(), port };
            metadata.brokers.insert(broker.node_id.0, address);
        }
        metadata.controller = metadata.brokers.get(&answer.controller_id.0).cloned();
        for found in answer.topics {
            let Some(name) = found.name else { continue };
            let name = name.0.to_string();
            match ResponseError::try_from_code(found.error_code) {
                None => {}
                Some(ResponseError::UnknownTopicOrPartition) => continue,
                Some(code) => {
                    let what = format!("topic {name}");
                    return Err(Error::Broker { api: "Metadata", what, code });
                }
            }
            let replicas = found.partitions.first().map_or(0, |it| it.replica_nodes.len());
            let leaders =
                found.partitions.iter().map(|it| (it.partition_index, it.leader_id.0)).collect();
            let id = (!found.topic_id.is_nil()).then(|| found.topic_id.to_string());
            let internal = found.is_internal;
            let replication_factor = replicas as i16;
            let topic = TopicMetadata { id, internal, leaders, replication_factor };
            metadata.topics.insert(name, topic);
        }
        Ok(metadata)
    }

    /// A new producer id and its epoch (KIP-98).
    pub async fn producer_id(&self) -> Result<(i64, i16)> {
        let mut connection = self.connect().await?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX);
        let answer = connection.call(&request).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok((answer.producer_id.0, answer.producer_epoch)),
            Some(code) => {
                let what = "a producer id".to_owned();
                Err(Error::Broker { api: "InitProducerId", what, code })
            }
        }
    }

    /// Connects to the leader of a partition.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<Connection> {
        let metadata = self.metadata(Some(&[topic])).await?;
        let leader = metadata
            .topics
            .get(topic)
            .and_then(|it| it.leaders.get(&partition))
            .and_then(|node| metadata.brokers.get(node));
        match leader {
            Some(address) => Connection::open(address, &self.security).await,
            None => Err(Error::NoLeader { topic: topic.to_owned(), partition }),
        }
    }

    /// The configs that were set on a topic itself. `None` where the cluster does not tell.
    pub async fn topic_configs(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let mut connection = self.connect().await?;
        if !connection.offers(DescribeConfigsRequest::KEY) {
            return Ok(None);
        }
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = connection.call(&request).await?;
        let mut configs = BTreeMap::new();
        for result in answer.results {
            if let Some(code) = ResponseError::try_from_code(result.error_code) {
                let what = format!("configs of topic {name}");
                return Err(Error::Broker { api: "DescribeConfigs", what, code });
            }
            let own =
                result.configs.into_iter().filter(|it| it.config_source == DYNAMIC_TOPIC_CONFIG);
            configs.extend(own.filter_map(|it| Some((it.name.to_string(), it.value?.to_string()))));
        }
        Ok(Some(configs))
    }

    /// Sets configs of a topic; others stay (KIP-339).
    pub async fn set_topic_configs(
        &self,
        name: &str,
        configs: &BTreeMap<String, String>,
    ) -> Result<()> {
        const SET: i8 = 0;
        let config = |(key, value): (&String, &String)| {
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(SET)
                .with_value(Some(text(value)))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(configs.iter().map(config).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.connect().await?.call(&request).await?;
        for result in answer.responses {
            if let Some(code) = ResponseError::try_from_code(result.error_code) {
                let why = result.error_message.map(|it| format!(": {it}")).unwrap_or_default();
                let what = format!("configs of topic {name}{why}");
                return Err(Error::Broker { api: "IncrementalAlterConfigs", what, code });
            }
        }
        Ok(())
    }

    /// Creates a topic, unless it is there.
    pub async fn create_topic(&self, new: &NewTopic) -> Result<Created> {
        let controller = self.metadata(Some(&[])).await?.controller;
        let mut connection = match controller {
            Some(address) => Connection::open(&address, &self.security).await?,
            None => self.connect().await?,
        };
        let config = |(key, value): (&String, &String)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        };
        let creatable = CreatableTopic::default()
            .with_name(topic(&new.name))
            .with_num_partitions(new.partitions)
            .with_replication_factor(new.replication_factor)
            .with_configs(new.configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(CREATE_TIMEOUT_MS);
        let answer = connection.call(&request).await?;
        for result in answer.topics {
            match ResponseError::try_from_code(result.error_code) {
                None => {}
                Some(ResponseError::TopicAlreadyExists) => return Ok(Created::Existed),
                Some(code) => {
                    let why = result.error_message.map(|it| format!(": {it}")).unwrap_or_default();
                    let what = format!("creating topic {}{why}", new.name);
                    return Err(Error::Broker { api: "CreateTopics", what, code });
                }
            }
        }
        Ok(Created::New)
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}
