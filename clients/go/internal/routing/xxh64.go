// Package routing turns keys into bytes, and these into a hash: xxHash64 with seed 0.
package routing

import (
	"encoding/binary"
	"math/bits"
)

const (
	prime1 uint64 = 11400714785074694791
	prime2 uint64 = 14029467366897019727
	prime3 uint64 = 1609587929392839161
	prime4 uint64 = 9650029242287828579
	prime5 uint64 = 2870177450012600261
)

func round(acc, lane uint64) uint64 { return bits.RotateLeft64(acc+lane*prime2, 31) * prime1 }

// Hash returns the hash of data.
func Hash(data []byte) uint64 {
	length := uint64(len(data))
	hash := prime5
	if len(data) >= 32 {
		p1, p2 := prime1, prime2 // Variables: their sums wrap around.
		acc := [4]uint64{p1 + p2, p2, 0, -p1}
		for ; len(data) >= 32; data = data[32:] {
			for i := range acc {
				acc[i] = round(acc[i], binary.LittleEndian.Uint64(data[8*i:]))
			}
		}
		hash = bits.RotateLeft64(acc[0], 1) + bits.RotateLeft64(acc[1], 7) +
			bits.RotateLeft64(acc[2], 12) + bits.RotateLeft64(acc[3], 18)
		for _, each := range acc {
			hash = (hash^round(0, each))*prime1 + prime4
		}
	}
	hash += length
	for ; len(data) >= 8; data = data[8:] {
		hash = bits.RotateLeft64(hash^round(0, binary.LittleEndian.Uint64(data)), 27)*prime1 + prime4
	}
	if len(data) >= 4 {
		hash = bits.RotateLeft64(hash^uint64(binary.LittleEndian.Uint32(data))*prime1, 23)*prime2 + prime3
		data = data[4:]
	}
	for _, each := range data {
		hash = bits.RotateLeft64(hash^uint64(each)*prime5, 11) * prime1
	}
	hash = (hash ^ hash>>33) * prime2
	hash = (hash ^ hash>>29) * prime3
	return hash ^ hash>>32
}
