// Package msgpack turns msgpack into JSON and back, so that a record needs only the tags of encoding/json.
// Bytes become base64, as encoding/json has them. There are no extension types.
package msgpack

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const deepest = 500

var errCut = errors.New("msgpack: the value is cut off")

type reader struct {
	data []byte
	out  []byte
}

// ToJSON returns the JSON text of exactly one value.
func ToJSON(data []byte) ([]byte, error) {
	r := &reader{data: data}
	if err := r.value(0); err != nil {
		return nil, err
	}
	if len(r.data) > 0 {
		return nil, errors.New("msgpack: there are bytes behind the value")
	}
	return r.out, nil
}

func (r *reader) take(count uint64) ([]byte, error) {
	if count > uint64(len(r.data)) {
		return nil, errCut
	}
	part := r.data[:count]
	r.data = r.data[count:]
	return part, nil
}

// number reads an unsigned integer of so many bytes.
func (r *reader) number(size int) (number uint64, err error) {
	data, err := r.take(uint64(size))
	for _, each := range data {
		number = number<<8 | uint64(each)
	}
	return number, err
}

func (r *reader) value(depth int) error {
	if depth > deepest {
		return errors.New("msgpack: nested too deep")
	}
	head, err := r.take(1)
	if err != nil {
		return err
	}
	tag := head[0]
	width := 1 << (tag & 3) // Of the four forms of an integer: 1, 2, 4, 8 bytes.
	var size uint64
	switch {
	case tag <= 0x7f:
		r.out = strconv.AppendUint(r.out, uint64(tag), 10)
	case tag <= 0x8f:
		return r.list(uint64(tag&15), true, depth)
	case tag <= 0x9f:
		return r.list(uint64(tag&15), false, depth)
	case tag <= 0xbf:
		return r.text(uint64(tag&31), utf8Text)
	case tag == 0xc0:
		r.out = append(r.out, "null"...)
	case tag == 0xc2 || tag == 0xc3:
		r.out = strconv.AppendBool(r.out, tag == 0xc3)
	case tag >= 0xc4 && tag <= 0xc6:
		if size, err = r.number(1 << (tag - 0xc4)); err == nil {
			err = r.text(size, base64.StdEncoding.EncodeToString)
		}
	case tag == 0xca:
		size, err = r.number(4)
		return firstOf(err, r.float(float64(math.Float32frombits(uint32(size))), 32))
	case tag == 0xcb:
		size, err = r.number(8)
		return firstOf(err, r.float(math.Float64frombits(size), 64))
	case tag >= 0xcc && tag <= 0xcf:
		size, err = r.number(width)
		r.out = strconv.AppendUint(r.out, size, 10)
	case tag >= 0xd0 && tag <= 0xd3:
		size, err = r.number(width)
		shift := 64 - 8*width
		r.out = strconv.AppendInt(r.out, int64(size<<shift)>>shift, 10)
	case tag >= 0xd9 && tag <= 0xdb:
		if size, err = r.number(1 << (tag - 0xd9)); err == nil {
			err = r.text(size, utf8Text)
		}
	case tag == 0xdc || tag == 0xdd || tag == 0xde || tag == 0xdf:
		if size, err = r.number(2 << (tag & 1)); err == nil {
			err = r.list(size, tag >= 0xde, depth)
		}
	case tag >= 0xe0:
		r.out = strconv.AppendInt(r.out, int64(int8(tag)), 10)
	default:
		return fmt.Errorf("msgpack: type 0x%x has no meaning here", tag)
	}
	return err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func utf8Text(data []byte) string { return string(data) }

func (r *reader) text(size uint64, form func([]byte) string) error {
	data, err := r.take(size)
	if err != nil {
		return err
	}
	text := form(data)
	if !utf8.ValidString(text) {
		return errors.New("msgpack: a text is not UTF-8")
	}
	quoted, err := json.Marshal(text)
	r.out = append(r.out, quoted...)
	return err
}

func (r *reader) float(number float64, bits int) error {
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return fmt.Errorf("msgpack: JSON has no %v", number)
	}
	r.out = strconv.AppendFloat(r.out, number, 'g', -1, bits)
	return nil
}

func (r *reader) list(count uint64, isMap bool, depth int) error {
	open, shut := byte('['), byte(']')
	if isMap {
		open, shut = '{', '}'
	}
	r.out = append(r.out, open)
	for i := uint64(0); i < count; i++ {
		if i > 0 {
			r.out = append(r.out, ',')
		}
		if isMap {
			if len(r.data) > 0 && r.data[0]&0xe0 != 0xa0 && (r.data[0] < 0xd9 || r.data[0] > 0xdb) {
				return errors.New("msgpack: the key of a map is not text")
			}
			if err := r.value(depth + 1); err != nil {
				return err
			}
			r.out = append(r.out, ':')
		}
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	r.out = append(r.out, shut)
	return nil
}

// FromJSON returns the msgpack form of exactly one JSON value; the fields of a map keep their order.
func FromJSON(text []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	out, err := appendNext(nil, decoder)
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("json: there is more than one value")
	}
	return out, nil
}

func appendNext(out []byte, decoder *json.Decoder) ([]byte, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch value := token.(type) {
	case nil:
		return append(out, 0xc0), nil
	case bool:
		if value {
			return append(out, 0xc3), nil
		}
		return append(out, 0xc2), nil
	case string:
		return append(appendLength(out, len(value), 31, 0xa0, 0xd9), value...), nil
	case json.Number:
		return appendNumber(out, value)
	}
	var items []byte
	count := 0
	for ; decoder.More(); count++ {
		if items, err = appendNext(items, decoder); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil { // The bracket.
		return nil, err
	}
	if token == json.Delim('{') {
		return append(appendLength(out, count/2, 15, 0x80, 0xdd), items...), nil
	}
	return append(appendLength(out, count, 15, 0x90, 0xdb), items...), nil
}

// appendLength writes the head of a text, list or map: within `small` in one byte; else behind a tag, of which
// `wide` is the one for a single byte (which only texts have).
func appendLength(out []byte, length, small int, short, wide byte) []byte {
	switch {
	case length <= small:
		return append(out, short|byte(length))
	case length <= math.MaxUint8 && wide == 0xd9:
		return append(out, wide, byte(length))
	case length <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, wide+1), uint16(length))
	}
	return binary.BigEndian.AppendUint32(append(out, wide+2), uint32(length))
}

func appendNumber(out []byte, text json.Number) ([]byte, error) {
	if positive, err := strconv.ParseUint(text.String(), 10, 64); err == nil {
		switch {
		case positive <= 0x7f:
			return append(out, byte(positive)), nil
		case positive <= math.MaxUint8:
			return append(out, 0xcc, byte(positive)), nil
		case positive <= math.MaxUint16:
			return binary.BigEndian.AppendUint16(append(out, 0xcd), uint16(positive)), nil
		case positive <= math.MaxUint32:
			return binary.BigEndian.AppendUint32(append(out, 0xce), uint32(positive)), nil
		}
		return binary.BigEndian.AppendUint64(append(out, 0xcf), positive), nil
	}
	if negative, err := text.Int64(); err == nil {
		switch {
		case negative >= -32:
			return append(out, byte(negative)), nil
		case negative >= math.MinInt8:
			return append(out, 0xd0, byte(negative)), nil
		case negative >= math.MinInt16:
			return binary.BigEndian.AppendUint16(append(out, 0xd1), uint16(negative)), nil
		case negative >= math.MinInt32:
			return binary.BigEndian.AppendUint32(append(out, 0xd2), uint32(negative)), nil
		}
		return binary.BigEndian.AppendUint64(append(out, 0xd3), uint64(negative)), nil
	}
	float, err := text.Float64()
	if err == nil && !strings.ContainsAny(text.String(), ".eE") {
		err = fmt.Errorf("msgpack: the integer %s has more than 64 bits", text)
	}
	return binary.BigEndian.AppendUint64(append(out, 0xcb), math.Float64bits(float)), err
}
