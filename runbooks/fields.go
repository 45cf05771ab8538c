package runbooks

import (
	"reflect"
	"strings"
	"sync"
)

// layout is what a struct type says about the keys of its YAML.
type layout struct {
	names    []string // in the order of the type
	fields   map[string]reflect.StructField
	optional map[string]bool
}

var layouts sync.Map // reflect.Type -> *layout

func layoutOf(t reflect.Type) *layout {
	if known, ok := layouts.Load(t); ok {
		return known.(*layout)
	}
	l := &layout{fields: map[string]reflect.StructField{}, optional: map[string]bool{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		l.names = append(l.names, name)
		l.fields[name] = f
		l.optional[name] = options == "omitempty"
	}
	layouts.Store(t, l)
	return l
}

func fields(t reflect.Type) (known map[string]reflect.StructField, optional map[string]bool) {
	l := layoutOf(t)
	return l.fields, l.optional
}

func keyNames(t reflect.Type) []string { return layoutOf(t).names }

// validWords lists the enum words of a field's jsonschema tag: editors and the loader read the same list.
func validWords(f reflect.StructField) []string {
	var words []string
	for _, part := range strings.Split(f.Tag.Get("jsonschema"), ",") {
		if word, found := strings.CutPrefix(part, "enum="); found {
			words = append(words, word)
		}
	}
	return words
}
