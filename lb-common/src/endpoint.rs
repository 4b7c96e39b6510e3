/// An IPv6 address, or an IPv4 one in its v4-mapped form, in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    words: [u64; 2],
}

/// An address and a TCP port: the key under which a VIP is found, and where a backend listens.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Address,
    port: u64,
}

/// The third 32-bit word of a v4-mapped address: `0000:ffff`.
const V4_MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// From the four words of `bpf_sock_addr.user_ip6`.
    #[inline(always)]
    pub const fn from_v6_words(ip: [u32; 4]) -> Self {
        Self { words: [join(ip[0], ip[1]), join(ip[2], ip[3])] }
    }

    /// From `bpf_sock_addr.user_ip4`.
    #[inline(always)]
    pub const fn from_v4_word(ip: u32) -> Self {
        Self::from_v6_words([0, 0, V4_MAPPED, ip])
    }

    /// The four words of `bpf_sock_addr.user_ip6`.
    #[inline(always)]
    pub const fn v6_words(&self) -> [u32; 4] {
        let (a, b) = split(self.words[0]);
        let (c, d) = split(self.words[1]);
        [a, b, c, d]
    }

    /// `bpf_sock_addr.user_ip4`; meaningless unless the address is v4-mapped.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        split(self.words[1]).1
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && split(self.words[1]).0 == V4_MAPPED
    }

    /// Whether both are the same; see [`Endpoint::is`].
    #[inline(always)]
    pub const fn is(&self, other: &Self) -> bool {
        self.words[0] == other.words[0] && self.words[1] == other.words[1]
    }

    /// Copies word by word into place; see [`Endpoint::store`].
    #[inline(always)]
    pub const fn store(&self, place: &mut Self) {
        place.words[0] = self.words[0];
        place.words[1] = self.words[1];
    }

    /// From sixteen octets in network order.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let mut ip = [0; 4];
        let mut i = 0;
        while i < 4 {
            let o = 4 * i;
            ip[i] = u32::from_ne_bytes([octets[o], octets[o + 1], octets[o + 2], octets[o + 3]]);
            i += 1;
        }
        Self::from_v6_words(ip)
    }

    /// As sixteen octets in network order.
    pub const fn octets(&self) -> [u8; 16] {
        let ip = self.v6_words();
        let mut octets = [0; 16];
        let mut i = 0;
        while i < 16 {
            octets[i] = ip[i / 4].to_ne_bytes()[i % 4];
            i += 1;
        }
        octets
    }
}

impl Endpoint {
    /// From an address and a port in network order, as in `bpf_sock_addr.user_port`.
    #[inline(always)]
    pub const fn new(address: Address, port: u32) -> Self {
        Self { address, port: (port & 0xffff) as u64 }
    }

    /// The address.
    #[inline(always)]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The port in network order, for `bpf_sock_addr.user_port`.
    #[inline(always)]
    pub const fn port_word(&self) -> u32 {
        self.port as u32
    }

    /// From an address and a port in the machine's order.
    pub const fn from_host(octets: [u8; 16], port: u16) -> Self {
        Self::new(Address::from_octets(octets), port.to_be() as u32)
    }

    /// The port in the machine's order.
    pub const fn port(&self) -> u16 {
        u16::from_be(self.port as u16)
    }

    /// Whether both are the same. Unlike `==` it never compiles to a call of `memcmp`, which a kernel program
    /// cannot make.
    #[inline(always)]
    pub const fn is(&self, other: &Self) -> bool {
        self.address.words[0] == other.address.words[0]
            && self.address.words[1] == other.address.words[1]
            && self.port == other.port
    }

    /// Copies word by word into place, which never compiles to a call of `memcpy`.
    #[inline(always)]
    pub fn store(&self, place: &mut Self) {
        place.address.words[0] = self.address.words[0];
        place.address.words[1] = self.address.words[1];
        place.port = self.port;
    }
}

/// Two words as they lie in memory, one after the other.
#[inline(always)]
const fn join(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        (first as u64) << 32 | second as u64
    }
}

#[inline(always)]
const fn split(word: u64) -> (u32, u32) {
    if cfg!(target_endian = "little") {
        (word as u32, (word >> 32) as u32)
    } else {
        ((word >> 32) as u32, word as u32)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn octets_survive_the_way_there_and_back() {
        let octets = Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, 0x789a).octets();
        assert_eq!(Address::from_octets(octets).octets(), octets);
    }

    #[test]
    fn a_v4_word_is_the_v4_mapped_address() {
        let v4 = Ipv4Addr::new(10, 103, 97, 2);
        let word = u32::from_ne_bytes(v4.octets());
        assert_eq!(Address::from_v4_word(word).octets(), v4.to_ipv6_mapped().octets());
        assert_eq!(Address::from_v4_word(word).v4_word(), word);
    }

    #[test]
    fn an_endpoint_lies_in_memory_as_the_kernel_has_it() {
        let endpoint = Endpoint::from_host([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], 0x1234);
        assert_eq!(endpoint.address.words[0].to_ne_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(endpoint.port_word(), u32::from(0x1234_u16.to_be()));
        assert_eq!(endpoint.port(), 0x1234);
    }
}
