// Package entry reads and writes the entries of a stream. The name of the first field says how the payload is written:
// a serializer and, behind a +, a compressor.
package entry

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"runnel/internal/lz4"
	"runnel/internal/msgpack"
)

// largest is how many bytes a payload may have when it is decompressed: a small entry must not fill the memory.
const largest = 64 << 20

// toJSON returns a payload as JSON.
func toJSON(codec string, data []byte) (plain []byte, err error) {
	serializer, compressor, compressed := strings.Cut(codec, "+")
	if compressor == "lz4" {
		data, err = lz4.Decompress(data, largest)
	} else if compressor == "gzip" {
		data, err = gunzip(data)
	} else if compressed {
		err = fmt.Errorf("there is no compressor %q here: it reads lz4 and gzip", compressor)
	}
	if err != nil {
		return nil, err
	}
	switch serializer {
	case "msgpack":
		return msgpack.ToJSON(data)
	case "json":
		return data, check(data)
	}
	return nil, fmt.Errorf("there is no serializer %q here: it reads json and msgpack", serializer)
}

// fromJSON returns a payload of a serializer.
func fromJSON(serializer string, plain []byte) ([]byte, error) {
	switch serializer {
	case "msgpack":
		return msgpack.FromJSON(plain)
	case "json":
		return plain, nil
	}
	return nil, fmt.Errorf("there is no serializer %q here: it writes json and msgpack", serializer)
}

// check refuses what encoding/json would change without a word: texts that are not UTF-8, numbers that no float holds.
func check(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("json: not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if number, isNumber := token.(json.Number); isNumber {
			if _, err := strconv.ParseFloat(number.String(), 64); err != nil {
				return fmt.Errorf("json: the number %s is too large", number)
			}
		}
	}
	if !json.Valid(text) { // It is cut off, or there are two values.
		return errors.New("json: not one whole value")
	}
	return nil
}

func gunzip(data []byte) ([]byte, error) {
	rest := bytes.NewReader(data)
	reader, err := gzip.NewReader(rest)
	if err != nil {
		return nil, err
	}
	reader.Multistream(false)
	plain, err := io.ReadAll(io.LimitReader(reader, largest+1))
	if err == nil && len(plain) > largest {
		err = fmt.Errorf("gzip: more than %d bytes when decompressed", largest)
	} else if err == nil && rest.Len() > 0 {
		err = errors.New("gzip: there are bytes behind the end")
	}
	return plain, err
}
