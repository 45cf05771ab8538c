package runbooks

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

var (
	documentName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	itemName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

	digits = regexp.MustCompile(`^-?[0-9]+$`)

	durationType = reflect.TypeFor[Duration]()
	secretType   = reflect.TypeFor[Secret]()
)

// decode sets v from node, and records every difference between the two instead of stopping at the first.
// The Go types are the schema: yaml tags name the keys, omitempty makes them optional, jsonschema tags list the valid words.
func (d *document) decode(node ast.Node, v reflect.Value, path string, words []string) {
	if d.full() {
		return
	}
	if path != "" {
		d.place(path, node)
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case v.Type() == durationType:
		d.duration(node, v, path)
	case v.Type() == secretType:
		d.secret(node, v, path)
	case v.Kind() == reflect.Struct:
		d.structure(node, v, path)
	case v.Kind() == reflect.Map:
		d.mapping(node, v, path)
	case v.Kind() == reflect.Slice:
		d.list(node, v, path, words)
	case v.Kind() == reflect.Bool:
		if n, ok := node.(*ast.BoolNode); ok {
			v.SetBool(n.Value)
			return
		}
		d.problem(path, "write true or false, without quotes", "expected true or false, got %s", kindOf(node))
	case v.CanInt():
		d.integer(node, v, path)
	default:
		d.text(node, v, path, words)
	}
}

func (d *document) structure(node ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(node, path)
	if !ok {
		return
	}
	keys, optional := fields(v.Type())
	taken, seen := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		if seen[e.key] {
			d.duplicate(path, e)
			continue
		}
		seen[e.key] = true
		field, known := keys[e.key]
		if !known {
			d.unknownKey(path, e, v.Type(), taken)
			continue
		}
		taken[e.key] = true
		d.at[join(path, e.key)] = e.place
		d.decode(e.value, v.FieldByIndex(field.Index), join(path, e.key), validWords(field))
	}
	for _, key := range keyNames(v.Type()) {
		if !taken[key] && !optional[key] {
			d.problem(join(path, key), "add it", "missing key %q", key)
		}
	}
}

// unknownKey records a key that nothing reads. The key that it was probably meant to be is then not missed as well.
func (d *document) unknownKey(path string, e entry, t reflect.Type, taken map[string]bool) {
	at, names := join(path, e.key), keyNames(t)
	d.at[at] = e.place
	taken[nearest(e.key, names)] = true
	d.problem(at, didYouMean(e.key, names), "unknown key; %s", oneOf(names))
}

func (d *document) duplicate(path string, e entry) {
	at := join(path, e.key)
	first := d.at[at]
	d.at[at] = e.place
	d.problem(at, "remove one of them", "the key is there twice, first on line %d", first.line)
}

func (d *document) mapping(node ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(node, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(entries)))
	for _, e := range entries {
		at, key := join(path, e.key), reflect.ValueOf(e.key)
		if v.MapIndex(key).IsValid() {
			d.duplicate(path, e)
			continue
		}
		d.at[at] = e.place
		if !itemName.MatchString(e.key) {
			d.problem(at, "rename it", "not a name; expected letters, digits, '-', '_' and '.', at most 63 of them")
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.value, value, at, nil)
		v.SetMapIndex(key, value)
	}
}

func (d *document) list(node ast.Node, v reflect.Value, path string, words []string) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		if _, empty := node.(*ast.NullNode); !empty {
			d.problem(path, "write [a, b], or one item on each line after a dash", "expected a list, got %s", kindOf(node))
			return
		}
		sequence = &ast.SequenceNode{}
	}
	v.Set(reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values)))
	for i, value := range sequence.Values {
		d.decode(value, v.Index(i), item(path, i), words)
	}
}

func (d *document) integer(node ast.Node, v reflect.Value, path string) {
	if n, ok := node.(*ast.IntegerNode); ok {
		switch number := n.Value.(type) {
		case int64:
			v.SetInt(number)
			return
		case uint64:
			if number < 1<<63 && !v.OverflowInt(int64(number)) {
				v.SetInt(int64(number))
				return
			}
		}
	}
	if node != nil && digits.MatchString(node.GetToken().Value) && node.GetToken().Type != token.DoubleQuoteType && node.GetToken().Type != token.SingleQuoteType {
		d.problem(path, "write a smaller one", "the number is too large")
		return
	}
	d.problem(path, "write digits only, without quotes", "expected a whole number, got %s", kindOf(node))
}

func (d *document) duration(node ast.Node, v reflect.Value, path string) {
	value, ok := textOf(node)
	if !ok {
		d.problem(path, "write the unit: ms, s, m or h", "expected a duration such as 30s or 5m, got %s", kindOf(node))
		return
	}
	if err := v.Addr().Interface().(*Duration).UnmarshalText([]byte(value)); err != nil {
		if strings.HasPrefix(value, "-") {
			d.problem(path, "remove the minus sign", "a duration cannot be negative")
			return
		}
		d.problem(path, "write the unit: ms, s, m or h", "%s is not a duration; expected one such as 30s, 1m30s or 250ms", shown(value))
	}
}

// secret never repeats what it was given: it may be the secret.
func (d *document) secret(node ast.Node, v reflect.Value, path string) {
	value, ok := textOf(node)
	if !ok {
		next := "put the secret into a file or a variable of the worker, and name that"
		if _, isMapping := node.(*ast.MappingNode); isMapping {
			next = "write no blank after the colon of env:NAME or file:/path"
		}
		d.problem(path, next, "expected a reference to a secret, got %s; expected %s", kindOf(node), SecretSchemes)
		return
	}
	v.SetString(value)
	if err := Secret(value).Valid(); err != nil {
		d.problem(path, "put the secret into a file or a variable of the worker, and name that", "%s", err)
	}
}

func (d *document) text(node ast.Node, v reflect.Value, path string, words []string) {
	value, ok := textOf(node)
	switch {
	case !ok:
		next := ""
		if _, scalar := node.(ast.ScalarNode); scalar && node.Type() != ast.NullType {
			next = "put it in quotes"
		}
		d.problem(path, next, "expected text, got %s", kindOf(node))
	case value == "":
		d.problem(path, "write a value, or remove the key", "the text is empty")
	case strings.ContainsFunc(value, func(r rune) bool { return control(r) && r != '\n' && r != '\t' }):
		d.problem(path, "remove them", "the text has control characters")
	case len(words) > 0 && !slices.Contains(words, value):
		d.unknown(path, "word", value, words)
		v.SetString(value)
	default:
		v.SetString(value)
	}
}

type entry struct {
	key   string
	value ast.Node
	place place
}

// entries lists a mapping's keys and values; nothing at all counts as an empty mapping.
func (d *document) entries(node ast.Node, path string) ([]entry, bool) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode:
	default:
		d.problem(path, "write one key: value on each line", "expected keys and values, got %s", kindOf(node))
		return nil, false
	}
	list := make([]entry, 0, len(values))
	for _, value := range values {
		var key ast.Node = value.Key
		if explicit, ok := key.(*ast.MappingKeyNode); ok {
			key = explicit.Value
		}
		name, ok := textOf(key)
		if !ok {
			var at = value.Start
			if key != nil && key.GetToken() != nil {
				at = key.GetToken()
			}
			d.problemAt(at, "put it in quotes", "expected text as a key of %s, got %s", orTop(path), kindOf(key))
			continue
		}
		e := entry{key: name, value: value.Value}
		if t := key.GetToken(); t != nil && t.Position != nil {
			e.place = place{t.Position.Line, t.Position.Column}
		}
		list = append(list, e)
	}
	return list, true
}

// place keeps where a scalar or a list's item stands; keys and values stand at their key already.
func (d *document) place(path string, node ast.Node) {
	if _, known := d.at[path]; known {
		if _, scalar := node.(ast.ScalarNode); !scalar || node.Type() == ast.NullType {
			return
		}
	}
	if node == nil || node.GetToken() == nil || node.GetToken().Position == nil {
		return
	}
	at := node.GetToken().Position
	d.at[path] = place{at.Line, at.Column}
}

func textOf(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func kindOf(node ast.Node) string {
	switch node.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode:
		return "a number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number with a point or an exponent"
	case *ast.BoolNode:
		return "true or false"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	}
	return "something else"
}

func orTop(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}
