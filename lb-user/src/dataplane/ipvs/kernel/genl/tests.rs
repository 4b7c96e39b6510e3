use std::collections::VecDeque;

use lb_core::model::Policy;
use netlink_packet_core::NLMSG_ERROR;

use super::{super::super::native::Forwarding, *};

const FAMILY: u16 = 31;

/// What the kernel says to one request.
enum Reply {
    /// These messages, then the end.
    Messages(Vec<Message>),
    /// The same, but something changed meanwhile.
    Interrupted(Vec<Message>),
    /// An errno; 0: done.
    Errno(Errno),
    Done,
    /// An answer to some earlier request, then nothing.
    Stale,
    /// The socket itself fails.
    Broken(Errno),
    Silence,
}

#[derive(Default)]
struct Script {
    replies: VecDeque<Reply>,
    waiting: VecDeque<io::Result<Vec<u8>>>,
    asked: usize,
}

fn datagram(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn errno(sequence: u32, code: i32) -> Vec<u8> {
    let mut payload = (-code).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    datagram(NLMSG_ERROR, 0, sequence, &payload)
}

fn end(sequence: u32) -> Vec<u8> {
    datagram(netlink_packet_core::NLMSG_DONE, 0, sequence, &[0; 4])
}

fn body(message: &Message) -> Vec<u8> {
    use netlink_packet_core::Emitable as _;
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    [vec![message.command, 1, 0, 0], bytes].concat()
}

impl Transport for &mut Script {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.asked += 1;
        let sequence = u32::from_ne_bytes(bytes[8..12].try_into().unwrap());
        let all = |messages: Vec<Message>, flags| {
            let each = messages.iter().map(move |m| datagram(FAMILY, flags, sequence, &body(m)));
            each.chain([end(sequence)]).map(Ok).collect()
        };
        self.waiting = match self.replies.pop_front().unwrap() {
            Reply::Messages(messages) => all(messages, 0),
            Reply::Interrupted(messages) => all(messages, netlink_packet_core::NLM_F_DUMP_INTR),
            Reply::Errno(code) => [Ok(errno(sequence, code.raw_os_error()))].into(),
            Reply::Done => [Ok(errno(sequence, 0))].into(),
            Reply::Stale => [Ok(errno(sequence.wrapping_sub(1), 0))].into(),
            Reply::Broken(code) => [Err(code.into())].into(),
            Reply::Silence => VecDeque::new(),
        };
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.extend(self.waiting.pop_front().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?);
        Ok(())
    }
}

fn family() -> Reply {
    let id = DefaultNla::new(FAMILY_ID, FAMILY.to_ne_bytes().to_vec());
    Reply::Messages(vec![Message { command: 1, attributes: vec![id] }])
}

fn script(replies: impl IntoIterator<Item = Reply>) -> Script {
    Script { replies: [family()].into_iter().chain(replies).collect(), ..Script::default() }
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, n], 6443))
}

fn service(vip: SocketAddr) -> Message {
    let attributes = vec![codec::service(vip, &Scheduling::of(Policy::Sticky))];
    Message { command: NEW_SERVICE, attributes }
}

#[test]
fn a_kernel_without_ipvs_says_so() {
    let mut script = Script { replies: [Reply::Errno(Errno::NOENT)].into(), ..Script::default() };
    assert!(Ipvs::over(&mut script).unwrap().is_none());
}

#[test]
fn services_of_both_families_come_back_as_they_were_written() {
    let v6: SocketAddr = "[fd00::2]:6443".parse().unwrap();
    let mut script = script([Reply::Messages(vec![service(at(100)), service(v6)])]);
    let services = Ipvs::over(&mut script).unwrap().unwrap().services().unwrap();
    let vips: Vec<_> = services.iter().map(|service| service.vip).collect();
    assert_eq!(vips, [at(100), v6]);
    assert_eq!(services[0].scheduling, Scheduling::of(Policy::Sticky));
}

#[test]
fn what_is_not_tcp_or_has_no_address_is_passed_over() {
    let bytes = |protocol: u16| {
        [(1_u16, 2_u16), (2, protocol)]
            .map(|(kind, value)| DefaultNla::new(kind, value.to_ne_bytes().to_vec()))
    };
    let nested = |attributes: [DefaultNla; 2]| {
        use netlink_packet_core::Emitable as _;
        let mut value = vec![0; attributes.as_slice().buffer_len()];
        attributes.as_slice().emit(&mut value);
        Message { command: NEW_SERVICE, attributes: vec![DefaultNla::new(codec::SERVICE, value)] }
    };
    let (udp, firewall_mark) = (nested(bytes(17)), nested(bytes(6)));
    let mut script = script([Reply::Messages(vec![udp, firewall_mark, service(at(100))])]);
    assert_eq!(Ipvs::over(&mut script).unwrap().unwrap().services().unwrap().len(), 1);
}

#[test]
fn a_dump_that_was_interrupted_starts_over() {
    let mut script =
        script([Reply::Interrupted(vec![service(at(100))]), Reply::Messages(vec![service(at(101))])]);
    let services = Ipvs::over(&mut script).unwrap().unwrap().services().unwrap();
    assert_eq!(services.iter().map(|service| service.vip).collect::<Vec<_>>(), [at(101)]);
}

#[test]
fn busy_and_out_of_buffers_pass() {
    for passing in [Errno::BUSY, Errno::NOBUFS] {
        let mut script = script([Reply::Errno(passing), Reply::Broken(passing), Reply::Done]);
        Ipvs::over(&mut script).unwrap().unwrap().add_destination(at(100), at(1), 1).unwrap();
        assert_eq!(script.asked, 4);
    }
}

#[test]
fn one_that_stays_busy_is_given_up() {
    let mut script = script((0..ATTEMPTS).map(|_| Reply::Errno(Errno::BUSY)));
    let error = Ipvs::over(&mut script).unwrap().unwrap().remove_service(at(100)).unwrap_err();
    assert!(is(&error, Errno::BUSY), "{error}");
}

#[test]
fn what_an_attempt_did_of_which_nothing_was_heard_counts_as_done() {
    let mut script = script([Reply::Broken(Errno::NOBUFS), Reply::Errno(Errno::EXIST)]);
    Ipvs::over(&mut script).unwrap().unwrap().add_destination(at(100), at(1), 1).unwrap();
    let mut script = self::script([Reply::Errno(Errno::EXIST)]);
    let error = Ipvs::over(&mut script).unwrap().unwrap().add_destination(at(100), at(1), 1).unwrap_err();
    assert!(is(&error, Errno::EXIST), "the first time it is a failure: {error}");
}

#[test]
fn silence_and_answers_to_earlier_requests_end_in_a_time_out() {
    for reply in [Reply::Silence, Reply::Stale] {
        let mut script = script([reply]);
        let error = Ipvs::over(&mut script).unwrap().unwrap().service(at(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(script.asked, 2, "it is not asked again");
    }
}

#[test]
fn a_service_that_is_not_there_is_no_error() {
    let mut script = script([Reply::Errno(Errno::SRCH)]);
    assert_eq!(Ipvs::over(&mut script).unwrap().unwrap().service(at(100)).unwrap(), None);
}

#[test]
fn a_destination_with_a_limit_or_another_way_is_not_as_we_make_it() {
    let entry = |forward: u32, limit: u32| {
        let mut bytes = codec::value(&codec::destination(at(1), 3));
        // Family, address, port, then forwarding, weight and the two limits: 8, 20, 8, and 8 each.
        bytes[40..44].copy_from_slice(&forward.to_ne_bytes());
        bytes[56..60].copy_from_slice(&limit.to_ne_bytes());
        let mut nested = vec![8, 0, 7, 0, 5, 0, 0, 0, 16, 0, 12, 0, 12, 0, 1, 0];
        nested.extend(9_u64.to_ne_bytes());
        bytes.extend(nested);
        codec::parse_destination(&bytes, at(100)).unwrap()
    };
    let plain = entry(0, 0);
    assert_eq!((plain.address, plain.destination), (at(1), Destination::serving(3)));
    assert_eq!((plain.active, plain.total), (5, 9));
    assert_eq!(entry(3, 0).destination.forwarding, Forwarding::Other);
    assert_eq!(entry(0, 7).destination.forwarding, Forwarding::Other);
}

#[test]
fn a_broken_answer_is_an_error() {
    let short = DefaultNla::new(codec::SERVICE, vec![200, 0, 1, 0]);
    let mut script = script([Reply::Messages(vec![Message { command: 1, attributes: vec![short] }])]);
    assert!(Ipvs::over(&mut script).unwrap().unwrap().services().is_err());
}
