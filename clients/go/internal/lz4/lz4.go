// Package lz4 reads LZ4 frames. Their checksums are skipped: the connection and the server have their own.
package lz4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errCut = errors.New("lz4: the frame is cut off or broken")

const (
	magic      = 0x184D2204
	stored     = 1 << 31 // A block that is not compressed.
	hasDict    = 1 << 0  // Bits of the descriptor.
	hasSum     = 1 << 2
	hasSize    = 1 << 3
	hasBlkSums = 1 << 4
)

// Decompress returns the content of exactly one frame, of at most `most` bytes.
func Decompress(frame []byte, most int) ([]byte, error) {
	take := func(count int) []byte {
		if count > len(frame) {
			return nil
		}
		part := frame[:count]
		frame = frame[count:]
		return part
	}
	head := take(6) // Magic number, descriptor, size of blocks.
	if head == nil || binary.LittleEndian.Uint32(head) != magic || head[4]>>6 != 1 {
		return nil, errors.New("lz4: not a frame")
	}
	flags := head[4]
	if flags&hasDict != 0 {
		return nil, errors.New("lz4: the frame needs a dictionary")
	}
	if flags&hasSize != 0 && take(8) == nil || take(1) == nil { // The last byte is the checksum of the header.
		return nil, errCut
	}
	out := []byte{}
	for {
		word := take(4)
		if word == nil {
			return nil, errCut
		}
		size := binary.LittleEndian.Uint32(word)
		if size == 0 {
			break
		}
		block := take(int(size &^ stored))
		if block == nil || flags&hasBlkSums != 0 && take(4) == nil {
			return nil, errCut
		}
		if size&stored != 0 {
			out = append(out, block...)
		} else if err := appendBlock(&out, block, most); err != nil {
			return nil, err
		}
		if len(out) > most {
			return nil, fmt.Errorf("lz4: more than %d bytes when decompressed", most)
		}
	}
	if flags&hasSum != 0 && take(4) == nil || len(frame) > 0 {
		return nil, errCut
	}
	return out, nil
}

// appendBlock decompresses a block. It may refer to what the blocks before it hold.
func appendBlock(out *[]byte, block []byte, most int) error {
	length := func(nibble byte) int {
		total := int(nibble)
		for more := nibble == 15; more && len(block) > 0; block = block[1:] {
			total += int(block[0])
			more = block[0] == 255
		}
		return total
	}
	for len(block) > 0 {
		token := block[0]
		block = block[1:]
		literals := length(token >> 4)
		if literals > len(block) {
			return errCut
		}
		*out = append(*out, block[:literals]...)
		if block = block[literals:]; len(block) == 0 {
			return nil // The last sequence has no match.
		}
		if len(block) < 2 {
			return errCut
		}
		offset := int(binary.LittleEndian.Uint16(block))
		block = block[2:]
		match := length(token&15) + 4
		from := len(*out) - offset
		if offset == 0 || from < 0 || len(*out)+match > most {
			return errCut
		}
		for i := 0; i < match; i++ { // Byte by byte: a match may overlap what it writes.
			*out = append(*out, (*out)[from+i])
		}
	}
	return errCut
}
