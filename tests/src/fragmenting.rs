//! Cutting datagrams into fragments, as a host or a router does (RFC 791 section 2.3, RFC 8200 section 4.5).

use crate::packet::Frame;

/// Length of an IPv6 header, and of its fragment header.
const V6_HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;

/// The frames that carry a frame's IP packet in pieces of `size` bytes, a multiple of 8. An IPv6 packet must have no
/// extension headers.
#[must_use]
pub fn fragments(frame: &Frame, id: u32, size: usize) -> Vec<Vec<u8>> {
    assert!(size.is_multiple_of(8) && size > 0, "fragments have a multiple of 8 bytes, not {size}");
    let whole = frame.bytes();
    let packet = frame.network();
    let ethernet = &whole[..whole.len() - packet.len()];
    let header = if packet[0] >> 4 == 4 { usize::from(packet[0] & 15) * 4 } else { V6_HEADER };
    let (header, payload) = packet.split_at(header);
    let last = payload.len().div_ceil(size) - 1;
    let pieces = payload.chunks(size).enumerate();
    pieces
        .map(|(index, piece)| {
            let offset = u16::try_from(index * size / 8).expect("13 bits");
            [ethernet, &with_header(header, id, offset, index < last, piece)].concat()
        })
        .collect()
}

/// A fragment of a packet with that header.
fn with_header(header: &[u8], id: u32, offset: u16, more: bool, piece: &[u8]) -> Vec<u8> {
    let mut header = header.to_vec();
    if header[0] >> 4 == 4 {
        let length = u16::try_from(header.len() + piece.len()).expect("a packet");
        let id = u16::try_from(id).expect("IPv4 has ids of 16 bits");
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&id.to_be_bytes());
        header[6..8].copy_from_slice(&(u16::from(more) << 13 | offset).to_be_bytes());
        header[10..12].fill(0);
        let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = words.sum::<u32>();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        header[10..12].copy_from_slice(&(!u16::try_from(sum).expect("folded")).to_be_bytes());
        return [&header, piece].concat();
    }
    let length = u16::try_from(FRAGMENT_HEADER + piece.len()).expect("a packet");
    header[4..6].copy_from_slice(&length.to_be_bytes());
    let next = std::mem::replace(&mut header[6], 44);
    let word = (offset << 3 | u16::from(more)).to_be_bytes();
    [&header[..], &[next, 0], &word, &id.to_be_bytes(), piece].concat()
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;
    use etherparse::defrag::IpDefragPool;

    use super::*;
    use crate::packet::udp;

    #[test]
    fn another_parser_puts_them_together_again() {
        for (source, destination) in [("198.51.100.7", "192.0.2.10"), ("2001:db8::7", "2001:db8::10")] {
            let data: Vec<u8> = (0..5_000_u32).map(|i| (i * 7) as u8).collect();
            let frame = Frame::to([2, 0, 0, 0, 0, 1]).ip(source, destination).carry(udp(1, 2).payload(&data));
            let mut pool = IpDefragPool::<(), ()>::new();
            let mut whole = None;
            for fragment in fragments(&frame, 77, 1_448) {
                let packet = SlicedPacket::from_ethernet(&fragment).expect("a packet");
                whole = pool.process_sliced_packet(&packet, (), ()).expect("fragments that fit");
            }
            assert_eq!(whole.expect("a whole datagram").payload[8..], data);
        }
    }
}
