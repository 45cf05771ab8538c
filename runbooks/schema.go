package runbooks

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of estate or runbook files, for editors.
// It holds what one file can show by itself; what needs another file, or the meaning of a name, Load checks.
func Schema(kind string) ([]byte, error) {
	document := map[string]any{"estate": &Estate{}, "runbook": &Runbook{}}[kind]
	if document == nil {
		return nil, fmt.Errorf("unknown schema %s; expected one of estate, runbook", shown(kind))
	}
	reflector := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, FieldNameTag: "yaml", Mapper: scalarSchema, LookupComment: helpFor,
	}
	s := reflector.Reflect(document)
	s.Title = "muster " + kind
	for name, definition := range s.Definitions {
		restrict(name, definition)
	}
	restrict(map[string]string{"estate": "Estate", "runbook": "Runbook"}[kind], s)
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema of %s: %w", kind, err)
	}
	return append(text, '\n'), nil
}

func scalarSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case durationType:
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`, Examples: []any{"250ms", "30s", "1h30m"}}
	case secretType:
		return &jsonschema.Schema{Type: "string", Pattern: `^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$`, Examples: []any{"env:PGPASSWORD", "file:/etc/muster/password"}}
	}
	return nil
}

func helpFor(t reflect.Type, goField string) string {
	if goField == "" {
		return ""
	}
	f, _ := t.FieldByName(goField)
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return keyHelp[t.Name()][key]
}

// restrict adds to a type's schema what tags cannot say: names, the gates, and which keys a kind needs.
func restrict(name string, s *jsonschema.Schema) {
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		if p := pair.Value; p.Type == "object" && p.AdditionalProperties != nil {
			p.PropertyNames = &jsonschema.Schema{Pattern: itemName.String()}
		}
	}
	property := func(key string) *jsonschema.Schema {
		p, _ := s.Properties.Get(key)
		return p
	}
	switch name {
	case "Estate":
		property("estate").Pattern = documentName.String()
		limit := uint64(MaxSystems)
		property("systems").MaxProperties = &limit
	case "Host":
		s.AllOf = []*jsonschema.Schema{needs("kind", "ssh", "address", "user", "key", "known_hosts")}
	case "System":
		s.AllOf = []*jsonschema.Schema{needs("kind", "postgresql", "postgresql"), needs("kind", "redis", "redis")}
	case "Redis":
		s.AllOf = []*jsonschema.Schema{needs("shape", "sentinel", "sentinels", "master_name")}
	case "Route":
		s.AllOf = []*jsonschema.Schema{needs("kind", "haproxy", "haproxy")}
	case "Notifier":
		s.AllOf = []*jsonschema.Schema{needs("kind", "slack", "slack"), needs("kind", "pagerduty", "pagerduty"), needs("kind", "email", "email"), needs("kind", "webhook", "webhook")}
	case "Runbook":
		property("runbook").Pattern = documentName.String()
		names := make([]any, len(gateNames))
		for i, name := range gateNames {
			names[i] = name
		}
		property("gates").PropertyNames = &jsonschema.Schema{Enum: names}
		s.AllOf = []*jsonschema.Schema{needs("operation", "failover", "failover"), needs("operation", "watch", "watch")}
	}
}

func needs(key, value string, keys ...string) *jsonschema.Schema {
	properties := jsonschema.NewProperties()
	properties.Set(key, &jsonschema.Schema{Const: value})
	return &jsonschema.Schema{
		If:   &jsonschema.Schema{Properties: properties, Required: []string{key}},
		Then: &jsonschema.Schema{Required: keys},
	}
}
