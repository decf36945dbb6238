package routing

import (
	"fmt"
	"math/big"
	"unicode/utf8"
)

// Bytes returns what is hashed of a key: text, bytes, an integer, or a UUID as [16]byte.
func Bytes(key any) ([]byte, error) {
	switch key := key.(type) {
	case string:
		if utf8.ValidString(key) {
			return []byte(key), nil
		}
	case []byte:
		return key, nil
	case [16]byte:
		return []byte(fmt.Sprintf("%x-%x-%x-%x-%x", key[:4], key[4:6], key[6:8], key[8:10], key[10:])), nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, *big.Int:
		return []byte(fmt.Sprint(key)), nil
	}
	return nil, fmt.Errorf("runnel: %#v is no key: use UTF-8 text, bytes, an integer or a [16]byte", key)
}
