package entry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Encode returns an entry, fields and values in turn, of a record that encoding/json can write.
func Encode(serializer string, record any) ([]any, error) {
	plain, err := Marshal(record)
	if err == nil {
		plain, err = fromJSON(serializer, plain)
	}
	return []any{serializer, plain}, err
}

// Decode returns the payload of an entry, as JSON, and its headers.
func Decode(entry []any) (plain []byte, headers map[string]string, err error) {
	if len(entry) < 2 || len(entry)%2 != 0 {
		return nil, nil, errors.New("the entry has no payload")
	}
	headers, texts := map[string]string{}, map[string]string{}
	for i := 2; i < len(entry); i += 2 {
		name, value := fmt.Sprintf("%s", entry[i]), fmt.Sprintf("%s", entry[i+1])
		if strings.HasPrefix(name, "@") {
			headers[name[1:]] = value
		} else {
			texts[name] = value
		}
	}
	if codec, value := fmt.Sprintf("%s", entry[0]), entry[1].([]byte); codec != "fields" {
		plain, err = toJSON(codec, value)
	} else if string(value) == "1" {
		plain, err = Marshal(texts)
	} else {
		err = fmt.Errorf("there is no form %q of fields here", value)
	}
	return plain, headers, err
}

// Marshal returns the JSON of a value, without escapes for HTML.
func Marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// Unmarshal reads JSON. Where the target is an `any`, numbers stay exact: they are json.Number.
func Unmarshal(plain []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.UseNumber()
	return decoder.Decode(into)
}
