package haproxy

import (
	"fmt"
	"slices"
	"strings"
)

// choices says what exists, the name most like word first.
func choices(word string, names []string) string {
	if len(names) == 0 {
		return "there are none"
	}
	names = slices.Sorted(slices.Values(names))
	slices.SortStableFunc(names, func(a, b string) int { return distance(word, a) - distance(word, b) })
	if len(names) == 1 {
		return "there is " + names[0]
	}
	more := ""
	if len(names) > 8 {
		names, more = names[:8], fmt.Sprintf(" and %d more", len(names)-8)
	}
	return fmt.Sprintf("did you mean %s? There are %s%s", names[0], strings.Join(names, ", "), more)
}

// distance counts the insertions, deletions and substitutions between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
