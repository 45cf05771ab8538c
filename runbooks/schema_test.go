package runbooks_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/runbooks"
)

func schemaOf(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	text, err := runbooks.Schema(kind)
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource(kind+".json", document))
	schema, err := compiler.Compile(kind + ".json")
	require.NoError(t, err)
	return schema
}

func valid(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	require.NoError(t, err)
	return schema.Validate(document)
}

func TestSchemaGolden(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"estate", "runbook"} {
		got, err := runbooks.Schema(kind)
		require.NoError(t, err)
		golden := filepath.Join("testdata", kind+".schema.json")
		if *update {
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "run go test ./runbooks -update")
	}
	_, err := runbooks.Schema("runbok")
	require.EqualError(t, err, `unknown schema "runbok"; expected one of estate, runbook`)
}

func TestExamplesSatisfyTheSchema(t *testing.T) {
	t.Parallel()
	estate, runbook := schemaOf(t, "estate"), schemaOf(t, "runbook")
	paths, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	require.Len(t, paths, 6)
	for _, path := range append(paths, "testdata/base.estate.yaml") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		schema := runbook
		if strings.HasSuffix(path, ".estate.yaml") {
			schema = estate
		}
		require.NoError(t, valid(t, schema, text), path)
	}
}

func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("failover-shop-unplanned.yaml")
	require.NoError(t, err)
	estate, err := os.ReadFile("shop.estate.yaml")
	require.NoError(t, err)
	tests := map[string]struct {
		kind     string
		text     []byte
		from, to string
	}{
		"unknown key":     {"runbook", runbook, "description:", "describtion:"},
		"unknown gate":    {"runbook", runbook, "  approve:", "  aprove:"},
		"unknown mode":    {"runbook", runbook, "  kind: unplanned", "  kind: sudden"},
		"bad duration":    {"runbook", runbook, "rto: 5m", "rto: 5 minutes"},
		"count of zero":   {"runbook", runbook, "count: 1", "count: 0"},
		"missing block":   {"runbook", runbook, "operation: failover", "operation: watch"},
		"missing estate":  {"runbook", runbook, "estate: shop", ""},
		"unknown role":    {"runbook", runbook, "[approver]", "[boss]"},
		"negative":        {"runbook", runbook, "lost_writes: 100", "lost_writes: -1"},
		"plain password":  {"estate", estate, "env:SHOP_ORDERS_PASSWORD", planted},
		"name":            {"estate", estate, "estate: shop", "estate: Shop_1"},
		"ssh without key": {"estate", estate, "    key: file:/etc/muster/keys/shop\n", ""},
		"unknown role 2":  {"estate", estate, "roles: [viewer]", "roles: [watcher]"},
		"unknown kind":    {"estate", estate, "kind: haproxy", "kind: dns"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, string(test.text), test.from)
			wrong := strings.Replace(string(test.text), test.from, test.to, 1)
			require.Error(t, valid(t, schemaOf(t, test.kind), []byte(wrong)))
		})
	}
}

// Every key has a description in the schema and in README.md.
func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, kind := range []string{"estate", "runbook"} {
		text, err := runbooks.Schema(kind)
		require.NoError(t, err)
		var schema struct {
			Properties map[string]struct{ Description string }
			Defs       map[string]struct {
				Properties map[string]struct{ Description string }
			} `json:"$defs"`
		}
		require.NoError(t, json.Unmarshal(text, &schema))
		require.NotEmpty(t, schema.Properties)
		for key, property := range schema.Properties {
			require.NotEmpty(t, property.Description, key)
			require.Contains(t, string(readme), "| `"+key+"` |", key)
		}
		for name, definition := range schema.Defs {
			for key, property := range definition.Properties {
				require.NotEmpty(t, property.Description, name+"."+key)
				require.Contains(t, string(readme), "| `"+key+"` |", name+"."+key)
			}
		}
	}
}
