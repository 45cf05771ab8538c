package gateway

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestContrast holds the colours to WCAG 2.2, AA: 4.5 to 1 for text, 3 to 1 for the edges of fields and the mark of the focus.
func TestContrast(t *testing.T) {
	t.Parallel()
	roots := regexp.MustCompile(`:root\{([^}]*)\}`).FindAllStringSubmatch(style, -1)
	require.Len(t, roots, 2, "light and dark")
	colours := map[string]string{}
	for i, scheme := range []string{"light", "dark"} {
		for entry := range strings.SplitSeq(roots[i][1], ";") {
			name, value, _ := strings.Cut(strings.TrimPrefix(entry, "--"), ":")
			colours[name] = value // what dark does not say is as in light
		}
		for _, pair := range strings.Fields("ink/bg ink/card soft/bg soft/card good/good-bg warn/warn-bg bad/bad-bg bad/card calm/calm-bg calm/card calm/bg on/good on/calm field/bg field/card focus/bg focus/card") {
			ink, paper, _ := strings.Cut(pair, "/")
			least := 4.5
			if ink == "field" || ink == "focus" {
				least = 3
			}
			a, b := luminance(t, colours[ink]), luminance(t, colours[paper])
			require.GreaterOrEqual(t, (max(a, b)+.05)/(min(a, b)+.05), least, "%s, %s", scheme, pair)
		}
	}
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	hex := strings.TrimPrefix(colour, "#")
	if len(hex) == 3 {
		hex = strings.Join([]string{hex[:1], hex[:1], hex[1:2], hex[1:2], hex[2:], hex[2:]}, "")
	}
	require.Len(t, hex, 6, colour)
	var sum float64
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		require.NoError(t, err)
		v := float64(n) / 255
		if v <= .04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}
