package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// results is what one run measured; it is the JSON file too.
type results struct {
	Began   time.Time `json:"began"`
	Took    float64   `json:"took_s"`
	Version string    `json:"version"` // of muster-worker
	CPUs    int       `json:"cpus"`
	Load    [2]string `json:"load"` // 1, 5 and 15 minutes, at the beginning and at the end
	Quick   bool      `json:"quick,omitempty"`
	Figures []figure  `json:"figures"`
}

// figure is one line of the table.
type figure struct {
	ID        string    `json:"id"` // stable, for comparisons
	What      string    `json:"what"`
	Unit      string    `json:"unit"`
	Value     float64   `json:"value"` // the samples' median
	Samples   []float64 `json:"samples,omitempty"`
	Reference *against  `json:"reference,omitempty"`
	Ratio     float64   `json:"ratio,omitempty"`
	Aim       float64   `json:"aim,omitempty"`       // the value must be below; 0: none
	AimRatio  float64   `json:"aim_ratio,omitempty"` // the ratio must not be above; 0: none
	Missed    bool      `json:"missed,omitempty"`
	Note      string    `json:"note,omitempty"`
	// Parts say where the value comes from: medians by step, in Unit.
	Parts map[string]float64 `json:"parts,omitempty"`
}

// against is what a figure is held to.
type against struct {
	What    string    `json:"what"`
	Value   float64   `json:"value"`
	Samples []float64 `json:"samples,omitempty"`
}

func reference(what string, samples ...float64) *against {
	return &against{What: what, Value: median(samples), Samples: samples}
}

func (f *figure) finish() {
	if len(f.Samples) > 0 {
		f.Value = median(f.Samples)
	}
	if f.Reference != nil && f.Reference.Value != 0 {
		f.Ratio = f.Value / f.Reference.Value
	}
	f.Missed = (f.Aim != 0 && f.Value >= f.Aim) || (f.AimRatio != 0 && f.Ratio > f.AimRatio)
}

func (f *figure) line() string {
	text := fmt.Sprintf("%s: %s %s", f.ID, number(f.Value), f.Unit)
	if f.Reference != nil {
		text += fmt.Sprintf(", beside %s (%s)", number(f.Reference.Value), f.Reference.What)
	}
	if f.Missed {
		text += ", AIM MISSED"
	}
	return text
}

func (f *figure) aim() string {
	var aims []string
	if f.Aim != 0 {
		aims = append(aims, fmt.Sprintf("< %s", number(f.Aim)))
	}
	if f.AimRatio != 0 {
		aims = append(aims, fmt.Sprintf("<= %sx", number(f.AimRatio)))
	}
	switch {
	case len(aims) == 0:
		return ""
	case f.Missed:
		return strings.Join(aims, ", ") + " MISSED"
	default:
		return strings.Join(aims, ", ") + " met"
	}
}

func (r *results) begin(version string, quick bool) {
	r.Began, r.Version, r.Quick, r.CPUs, r.Load[0] = time.Now().UTC(), version, quick, runtime.NumCPU(), load()
}

func (r *results) end(took time.Duration) { r.Took, r.Load[1] = took.Seconds(), load() }

func (r *results) table(w io.Writer) {
	fmt.Fprintf(w, "\n%s, %d CPUs, load %s at the beginning and %s at the end, took %.0f s\n\n", r.Version, r.CPUs, r.Load[0], r.Load[1], r.Took)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tVALUE\tP95\tN\tREFERENCE\tVALUE\tRATIO\tAIM")
	for _, f := range r.Figures {
		p95, n := "", ""
		if len(f.Samples) > 1 {
			p95, n = number(quantile(f.Samples, 0.95)), fmt.Sprint(len(f.Samples))
		}
		what, value, ratio := "", "", ""
		if f.Reference != nil {
			what, value, ratio = f.Reference.What, number(f.Reference.Value), number(f.Ratio)+"x"
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.What, number(f.Value), f.Unit, p95, n, what, value, ratio, f.aim())
	}
	_ = t.Flush() // to standard output
	for _, f := range r.Figures {
		if len(f.Parts) > 0 {
			fmt.Fprintf(w, "\nParts of %s (%s):", f.What, f.Unit)
			for _, key := range slices.Sorted(maps.Keys(f.Parts)) {
				fmt.Fprintf(w, " %s %s,", key, number(f.Parts[key]))
			}
		}
		if f.Note != "" {
			fmt.Fprintf(w, "\n%s: %s", f.What, f.Note)
		}
	}
	fmt.Fprintln(w)
}

func (r *results) save(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	fmt.Printf("\nresults: %s\n", path)
	return nil
}

// compare prints what changed from one run to another.
func compare(w io.Writer, before, after string) error {
	var runs [2]results
	for i, path := range []string{before, after} {
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &runs[i])
		}
		if err != nil {
			return fmt.Errorf("read the results in %s: %w", path, err)
		}
		fmt.Fprintf(w, "%s: %s, %s, load %s to %s\n", path, runs[i].Version, runs[i].Began.Format(time.DateTime), runs[i].Load[0], runs[i].Load[1])
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tBEFORE\tAFTER\tCHANGE\tRATIO BEFORE\tAFTER\tAIM")
	for _, b := range runs[1].Figures {
		i := slices.IndexFunc(runs[0].Figures, func(f figure) bool { return f.ID == b.ID })
		if i < 0 {
			fmt.Fprintf(t, "%s\t\t%s %s\tnew\t\t%s\t%s\n", b.What, number(b.Value), b.Unit, number(b.Ratio), b.aim())
			continue
		}
		a := runs[0].Figures[i]
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%+.0f%%\t%s\t%s\t%s\n", b.What, number(a.Value), number(b.Value), b.Unit, 100*(b.Value-a.Value)/a.Value,
			number(a.Ratio), number(b.Ratio), b.aim())
	}
	for _, a := range runs[0].Figures {
		if !slices.ContainsFunc(runs[1].Figures, func(f figure) bool { return f.ID == a.ID }) {
			fmt.Fprintf(t, "%s\t%s %s\t\tgone\t%s\t\t\n", a.What, number(a.Value), a.Unit, number(a.Ratio))
		}
	}
	return t.Flush()
}

func median(samples []float64) float64 { return quantile(samples, 0.5) }

// quantile interpolates; 0 of no samples.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(at-float64(low))
}

// number shows three digits.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
