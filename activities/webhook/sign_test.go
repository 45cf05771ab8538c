package webhook

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	body := []byte(`{"id":"a/1"}`)
	good := Sign([]byte(key), body, at)
	require.NoError(t, Verify([]byte(key), good, body, at))
	stamp, signature, _ := strings.Cut(good, ",")
	tests := map[string]struct {
		key, header, body string
		now               time.Time
		problem           string // empty: it verifies
	}{
		"late, within tolerance":    {header: good, now: at.Add(Tolerance)},
		"early, within tolerance":   {header: good, now: at.Add(-Tolerance)},
		"too late":                  {header: good, now: at.Add(Tolerance + time.Second), problem: "replayed"},
		"too early":                 {header: good, now: at.Add(-Tolerance - time.Second), problem: "replayed"},
		"blanks":                    {header: stamp + ", " + signature},
		"order":                     {header: signature + "," + stamp},
		"two signatures":            {header: stamp + ",v1=" + strings.Repeat("00", 32) + "," + signature},
		"an unknown scheme":         {header: good + ",v2=zz"},
		"capital hex":               {header: stamp + ",v1=" + strings.ToUpper(signature[3:])},
		"another key":               {key: "other", header: good, problem: "does not fit"},
		"another body":              {body: "{}", header: good, problem: "does not fit"},
		"another time":              {header: "t=" + strconv.FormatInt(at.Unix()+1, 10) + "," + signature, problem: "does not fit"},
		"the same time, otherwise":  {header: "t=+" + stamp[2:] + "," + signature, problem: "does not fit"},
		"two times":                 {header: good + "," + stamp, problem: "two times"},
		"missing":                   {header: "", problem: "missing"},
		"no time":                   {header: signature, problem: "malformed"},
		"no signature":              {header: stamp, problem: "malformed"},
		"empty signature":           {header: stamp + ",v1=", problem: "malformed"},
		"short signature":           {header: stamp + ",v1=00", problem: "malformed"},
		"not hex":                   {header: stamp + ",v1=" + strings.Repeat("zz", 32), problem: "malformed"},
		"a time that is not one":    {header: "t=x," + signature, problem: "malformed"},
		"a time beyond all numbers": {header: "t=99999999999999999999," + signature, problem: "malformed"},
		"too many signatures":       {header: stamp + strings.Repeat(",v1="+strings.Repeat("00", 32), 17), problem: "malformed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, b, now := key, string(body), at
			if test.key != "" {
				k = test.key
			}
			if test.body != "" {
				b = test.body
			}
			if !test.now.IsZero() {
				now = test.now
			}
			err := Verify([]byte(k), test.header, []byte(b), now)
			if test.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.problem)
			require.NotContains(t, err.Error(), key)
		})
	}
	require.Error(t, Verify(nil, Sign(nil, body, at), body, at), "no key signs nothing")
}

// The line in the package's documentation, run by a shell with the real openssl.
func TestOpensslAgrees(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	body := []byte("{\"id\":\"a/1\"}\n\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "body"), body, 0o600))
	source, err := os.ReadFile("webhook.go")
	require.NoError(t, err)
	var line string
	for text := range strings.Lines(string(source)) {
		if strings.Contains(text, "openssl dgst") {
			line = strings.TrimSpace(strings.TrimPrefix(text, "//"))
		}
	}
	require.NotEmpty(t, line)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "key="+key, "t="+strconv.FormatInt(at.Unix(), 10))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	_, signature, _ := strings.Cut(Sign([]byte(key), body, at), "v1=")
	require.Equal(t, signature, strings.Fields(string(out))[0])
}

// Whatever header is believed holds a signature by the key, of this body.
func FuzzVerify(f *testing.F) {
	body := []byte("{}")
	good := Sign([]byte(key), body, at)
	f.Add(good, body)
	f.Add("t=1,v1=00", body)
	f.Add(",,t==,v1", []byte(nil))
	f.Add(good+",t=", body)
	f.Fuzz(func(t *testing.T, header string, text []byte) {
		if Verify([]byte(key), header, text, at) != nil {
			return
		}
		for _, part := range strings.Split(header, ",") {
			stamp, isTime := strings.CutPrefix(strings.TrimSpace(part), "t=")
			if !isTime {
				continue
			}
			seconds, err := strconv.ParseInt(stamp, 10, 64)
			require.NoError(t, err)
			_, signature, _ := strings.Cut(Sign([]byte(key), text, time.Unix(seconds, 0)), "v1=")
			if stamp == strconv.FormatInt(seconds, 10) {
				require.Contains(t, strings.ToLower(header), signature)
			}
		}
	})
}
