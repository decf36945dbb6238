package runnel

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"runnel/internal/entry"
	"runnel/internal/routing"
)

// linesOf returns the lines of a file of vectors.
func linesOf[T any](t *testing.T, name string) (lines []T) {
	data, err := os.ReadFile("../../lua/conformance/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var one T
		if err := entry.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, one)
	}
	return lines
}

func keyOf(t *testing.T, kind, text string) any {
	switch kind {
	case "text":
		if strings.Contains(text, "\ufffd") { // What encoding/json makes of half a surrogate pair.
			return "\xed\xa0\x80"
		}
		return text
	case "integer":
		number, ok := new(big.Int).SetString(text, 10)
		if !ok {
			t.Fatal(text)
		}
		return number
	case "uuid":
		data, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
		if err != nil {
			t.Fatal(err)
		}
		return *(*[16]byte)(data)
	case "bytes":
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return data
	case "float":
		return 1.5
	case "boolean":
		return true
	case "null":
		return nil
	}
	t.Fatalf("there is no key of the type %s here", kind)
	return nil
}

func TestKeysGoToTheirPartitions(t *testing.T) {
	type line struct {
		Key         struct{ Type, Value string }
		Bytes, Hash string
		Partition   map[string]int
		Refused     bool
	}
	for _, each := range linesOf[line](t, "routing.jsonl") {
		key := keyOf(t, each.Key.Type, each.Key.Value)
		data, err := routing.Bytes(key)
		if each.Refused {
			if err == nil {
				t.Errorf("%v is taken for a key", each.Key)
			}
			continue
		}
		if err != nil || hex.EncodeToString(data) != each.Bytes || fmt.Sprint(routing.Hash(data)) != each.Hash {
			t.Errorf("%v: %x, %d, %v", each.Key, data, routing.Hash(data), err)
		}
		for count, want := range each.Partition {
			stream := Open("app", "").Stream("stream", 0)
			fmt.Sscan(count, &stream.Partitions)
			if got, err := stream.Partition(key); got != want || err != nil {
				t.Errorf("%v: partition %d of %s, not %d: %v", each.Key, got, count, want, err)
			}
		}
	}
}

func TestSmallIntegersAreKeys(t *testing.T) {
	for _, key := range []any{int8(42), uint64(42), 42, int64(42)} {
		if data, err := routing.Bytes(key); err != nil || string(data) != "42" {
			t.Errorf("%T: %q, %v", key, data, err)
		}
	}
}

// plain turns the values of a vector into what this client reads: exact numbers, and bytes as base64.
func plain(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if digits, is := value["$int"].(string); is && len(value) == 1 {
			return json.Number(digits)
		}
		if digits, is := value["$bytes"].(string); is && len(value) == 1 {
			data, _ := hex.DecodeString(digits)
			return data
		}
		for name, each := range value {
			value[name] = plain(each)
		}
	case []any:
		for i, each := range value {
			value[i] = plain(each)
		}
	}
	return value
}

func TestEntriesAreReadAndWritten(t *testing.T) {
	type line struct {
		Name      string
		Values    json.RawMessage
		Entry     []string
		Headers   map[string]string
		Canonical bool
		Refused   bool
	}
	for _, each := range linesOf[line](t, "entries.jsonl") {
		fields := []any{}
		for _, digits := range each.Entry {
			data, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			fields = append(fields, data)
		}
		payload, headers, err := entry.Decode(fields)
		var got any
		if err == nil {
			err = entry.Unmarshal(payload, &got)
		}
		if each.Refused {
			if err == nil {
				t.Errorf("%s: it is read as %v", each.Name, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", each.Name, err)
			continue
		}
		var want any
		if err := entry.Unmarshal(each.Values, &want); err != nil {
			t.Fatal(err)
		}
		if !same(got, plain(want)) {
			t.Errorf("%s: %v, not %v", each.Name, got, want)
		}
		if each.Headers != nil && !reflect.DeepEqual(headers, each.Headers) {
			t.Errorf("%s: headers %v", each.Name, headers)
		}
		hasBytes := bytes.Contains(each.Values, []byte("$bytes")) // This client reads bytes, and writes none.
		if each.Canonical && !hasBytes {
			written, err := entry.Encode(string(fields[0].([]byte)), untagged(each.Values))
			if err != nil || !bytes.Equal(written[1].([]byte), fields[1].([]byte)) {
				t.Errorf("%s: written as %q, %v", each.Name, written[1], err)
			}
		}
	}
}

// untagged returns the values in their order: a map of Go has none.
func untagged(values json.RawMessage) json.RawMessage {
	escapes := regexp.MustCompile(`(\\u[0-9a-f]{4})+`)
	text := escapes.ReplaceAllStringFunc(string(values), func(escaped string) (text string) {
		json.Unmarshal([]byte(`"`+escaped+`"`), &text)
		return text
	})
	for {
		head, rest, found := strings.Cut(text, `{"$int": "`)
		if !found {
			return json.RawMessage(text)
		}
		digits, rest, _ := strings.Cut(rest, `"}`)
		text = head + digits + rest
	}
}

// same compares numbers by their values.
func same(one, other any) bool {
	a, _ := json.Marshal(floats(one))
	b, _ := json.Marshal(floats(other))
	return bytes.Equal(a, b)
}

func floats(value any) any {
	switch value := value.(type) {
	case json.Number:
		if strings.ContainsAny(value.String(), ".eE") {
			float, _ := value.Float64()
			return float
		}
	case map[string]any:
		for name, each := range value {
			value[name] = floats(each)
		}
	case []any:
		for i, each := range value {
			value[i] = floats(each)
		}
	}
	return value
}

func TestWhatIsUnknownIsRefusedByName(t *testing.T) {
	for tag, want := range map[string]string{"msgpack+zstd": "zstd", "cbor": "cbor", "json+br": "br"} {
		_, _, err := entry.Decode([]any{[]byte(tag), []byte("{}")})
		if err == nil || !strings.Contains(err.Error(), `"`+want+`"`) {
			t.Errorf("%s: %v", tag, err)
		}
	}
	if _, err := entry.Encode("cbor", 1); err == nil || !strings.Contains(err.Error(), "cbor") {
		t.Error(err)
	}
	if _, err := entry.Encode("msgpack", json.RawMessage("18446744073709551616")); err == nil {
		t.Error("an integer of 65 bits was rounded")
	}
}

func TestScriptsAreThoseOfTheProtocol(t *testing.T) {
	files, err := scripts.ReadDir("lua")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		ours, _ := scripts.ReadFile("lua/" + file.Name())
		theirs, err := os.ReadFile("../../lua/" + file.Name())
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("lua/%s differs from the protocol's: run scripts/lua-blocks (%v)", file.Name(), err)
		}
	}
}
