package postgres

import "strings"

var quoteValue = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// conninfo makes a libpq connection string of names and values; empty values are left out.
func conninfo(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(pairs[i] + "='" + quoteValue.Replace(pairs[i+1]) + "'")
	}
	return b.String()
}

// quoteLiteral makes a string literal for SQL. Backslashes are plain there (standard_conforming_strings).
func quoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

var quoteSettingText = strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`)

// quoteSetting makes a value for postgresql.conf, where backslashes are escapes.
func quoteSetting(value string) string { return "'" + quoteSettingText.Replace(value) + "'" }
