//! The messages of Perfetto's trace format that are written, with the numbers of its published schema.
//! It exists so that no compiler of schemas is needed to build this program.

use prost::Message;

/// `TracePacket`: the file is these, each as field 1, one after the other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Packet {
    /// ns.
    #[prost(uint64, optional, tag = "8")]
    pub(super) timestamp: Option<u64>,
    /// Who wrote it: one writer.
    #[prost(uint32, optional, tag = "10")]
    pub(super) trusted_packet_sequence_id: Option<u32>,
    /// Something on a track.
    #[prost(message, optional, tag = "11")]
    pub(super) track_event: Option<TrackEvent>,
    /// Texts that this packet and later ones name by number.
    #[prost(message, optional, tag = "12")]
    pub(super) interned_data: Option<Interned>,
    /// Bit 0: nothing before this counts. Bit 1: texts of earlier packets count.
    #[prost(uint32, optional, tag = "13")]
    pub(super) sequence_flags: Option<u32>,
    /// A track is described.
    #[prost(message, optional, tag = "60")]
    pub(super) track_descriptor: Option<TrackDescriptor>,
}

/// `InternedData`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Interned {
    /// Categories.
    #[prost(message, repeated, tag = "1")]
    pub(super) event_categories: Vec<Text>,
    /// Names of events.
    #[prost(message, repeated, tag = "2")]
    pub(super) event_names: Vec<Text>,
    /// Names of notes.
    #[prost(message, repeated, tag = "3")]
    pub(super) debug_annotation_names: Vec<Text>,
}

/// `EventCategory`, `EventName`, `DebugAnnotationName`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Text {
    /// Its number, from 1 on.
    #[prost(uint64, optional, tag = "1")]
    pub(super) iid: Option<u64>,
    /// The text.
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
}

/// `TrackDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackDescriptor {
    /// Its number.
    #[prost(uint64, optional, tag = "1")]
    pub(super) uuid: Option<u64>,
    /// Its name.
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
    /// Set for what stands for a process.
    #[prost(message, optional, tag = "3")]
    pub(super) process: Option<Process>,
    /// The track that it belongs to.
    #[prost(uint64, optional, tag = "5")]
    pub(super) parent_uuid: Option<u64>,
    /// Set for a counter.
    #[prost(message, optional, tag = "8")]
    pub(super) counter: Option<Counter>,
}

/// `ProcessDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Process {
    /// Its number.
    #[prost(int32, optional, tag = "1")]
    pub(super) pid: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "6")]
    pub(super) process_name: Option<String>,
}

/// `CounterDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Counter {
    /// 2: a count.
    #[prost(int32, optional, tag = "3")]
    pub(super) unit: Option<i32>,
}

/// `TrackEvent`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackEvent {
    /// Categories, by number.
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub(super) category_iids: Vec<u64>,
    /// What it says beside.
    #[prost(message, repeated, tag = "4")]
    pub(super) debug_annotations: Vec<Annotation>,
    /// A [`Type`].
    #[prost(int32, optional, tag = "9")]
    pub(super) r#type: Option<i32>,
    /// Name, by number.
    #[prost(uint64, optional, tag = "10")]
    pub(super) name_iid: Option<u64>,
    /// The track.
    #[prost(uint64, optional, tag = "11")]
    pub(super) track_uuid: Option<u64>,
    /// Value of a counter.
    #[prost(int64, optional, tag = "30")]
    pub(super) counter_value: Option<i64>,
    /// Flows that leave here.
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub(super) flow_ids: Vec<u64>,
    /// Flows that end here.
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    pub(super) terminating_flow_ids: Vec<u64>,
}

/// `TrackEvent.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// A slice begins.
    Begin = 1,
    /// The innermost slice ends.
    End = 2,
    /// A moment.
    Instant = 3,
    /// A counter's new value.
    Counter = 4,
}

/// `DebugAnnotation`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Annotation {
    /// Its name, by number.
    #[prost(uint64, optional, tag = "1")]
    pub(super) name_iid: Option<u64>,
    /// A number.
    #[prost(uint64, optional, tag = "3")]
    pub(super) uint_value: Option<u64>,
}
