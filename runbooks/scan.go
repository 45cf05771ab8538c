package runbooks

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What one file may hold. A file is refused for these before it is parsed, so that no file takes long or fills the memory.
const (
	MaxFileSize = 2 << 20
	MaxSystems  = 2000
	maxDepth    = 24
	maxTokens   = 300_000
	maxSiblings = 2500 // the parser's time and stack grow with the square of the keys at one level
)

// parse reads text as one YAML document without anchors, aliases, merge keys and tags.
// It returns nil where the document has a problem.
func (d *document) parse(text []byte) ast.Node {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if !d.plainText(text) {
		return nil
	}
	tokens := lexer.Tokenize(string(text))
	if !d.scan(tokens) {
		return nil
	}
	file, err := parseTokens(tokens)
	var syntax *yaml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		d.problemAt(syntax.Token, "look at the indentation, colons and quotes around it", "not YAML: %s", syntax.Message)
		return nil
	case err != nil:
		d.problemAt(nil, "look at its indentation, colons and quotes", "not YAML")
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType && doc.Body.Type() != ast.NullType {
			return doc.Body
		}
	}
	d.problemAt(nil, "write an estate (estate: NAME) or a runbook (runbook: NAME) into it, or remove it", "the file is empty")
	return nil
}

// parseTokens turns a panic of the parser into an error: what it is given comes from anybody.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the parser gave up")
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

func (d *document) plainText(text []byte) bool {
	line := func(offset int) *token.Token {
		before := text[:offset]
		return &token.Token{Position: &token.Position{
			Line: bytes.Count(before, []byte("\n")) + 1, Column: offset - bytes.LastIndexByte(before, '\n'),
		}}
	}
	switch {
	case len(text) > MaxFileSize:
		d.problemAt(nil, "split it: one file for each estate and each runbook", "the file is larger than the limit of %d MiB", MaxFileSize>>20)
	case bytes.IndexByte(text, 0) >= 0:
		d.problemAt(line(bytes.IndexByte(text, 0)), "save it as UTF-8", "the file is not text: it has a NUL byte")
	case !utf8.Valid(text):
		d.problemAt(line(firstInvalid(text)), "save it as UTF-8", "the file is not UTF-8")
	case indicators(text) > 2*maxTokens:
		d.problemAt(nil, "split it", "the file has too many keys and values")
	default:
		return true
	}
	return false
}

func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return 0
}

// indicators counts the bytes that may end a token, an upper bound that costs nothing.
func indicators(text []byte) int {
	n := 0
	for _, b := range text {
		if strings.IndexByte(":,-[]{}\"'#&*!?|>%@`", b) >= 0 {
			n++
		}
	}
	return n
}

// scan refuses what must not reach the parser: it recurses for each level, and copies what an alias names.
func (d *document) scan(tokens token.Tokens) bool {
	levels, systems, begun, ended := nesting{}, counter{}, false, false
	var tooMany *token.Token
	for i, t := range tokens {
		var previous *token.Token
		if i > 0 {
			previous = tokens[i-1]
		}
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			d.problemAt(t, "write the values out", "anchors, aliases and merge keys (&name, *name, <<) are not accepted")
			return false
		case token.TagType:
			d.problemAt(t, "remove it; quotes make text of a number", "tags (!name) are not accepted")
			return false
		case token.DirectiveType:
			d.problemAt(t, "remove the line", "YAML directives (%%) are not accepted")
			return false
		case token.DocumentHeaderType:
			if begun {
				d.problemAt(t, "move what follows --- to a file of its own", "a second document begins here; expected one document in each file")
				return false
			}
			begun = true
		case token.DocumentEndType:
			ended = true
		case token.CommentType:
		default:
			if ended {
				d.problemAt(t, "move it to a file of its own", "something follows the end of the document (...)")
				return false
			}
			begun = true
		}
		if levels.add(t, previous) > maxDepth {
			d.problemAt(t, "no key of estates and runbooks is that deep", "nested deeper than %d levels", maxDepth)
			return false
		}
		if levels.siblings() > maxSiblings && tooMany == nil {
			tooMany = t
		}
		systems.add(t, previous, levels.flow)
	}
	if systems.count > MaxSystems {
		d.problem("systems", "split the estate", "%d systems; expected at most %d in one estate", systems.count, MaxSystems)
		p := &d.problems[len(d.problems)-1]
		p.Line, p.Column = systems.at.line, systems.at.column
		return false
	}
	switch {
	case tooMany != nil:
		d.problemAt(tooMany, "split it", "more than %d keys or items at one level", maxSiblings)
	case len(tokens) > maxTokens:
		d.problemAt(nil, "split it", "the file has too many keys and values")
	default:
		return true
	}
	return false
}

// nesting follows how deep a stream of tokens is: brackets, and columns at which keys and list items begin.
type nesting struct {
	flow   int
	levels []level
}

type level struct{ column, items int }

func (n *nesting) add(t, previous *token.Token) int {
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		n.flow++
	case token.MappingEndType, token.SequenceEndType:
		n.flow = max(n.flow-1, 0)
	case token.SequenceEntryType, token.MappingKeyType:
		n.open(t.Position.Column)
	case token.MappingValueType:
		if previous != nil && previous.Position.Line == t.Position.Line && previous.Type != token.MappingValueType {
			n.open(previous.Position.Column)
		} else {
			n.open(t.Position.Column)
		}
	}
	return n.flow + len(n.levels)
}

func (n *nesting) open(column int) {
	if n.flow > 0 {
		return // inside brackets, only brackets nest
	}
	for len(n.levels) > 0 && n.levels[len(n.levels)-1].column > column {
		n.levels = n.levels[:len(n.levels)-1]
	}
	if last := len(n.levels) - 1; last >= 0 && n.levels[last].column == column {
		n.levels[last].items++
		return
	}
	n.levels = append(n.levels, level{column, 1})
}

// siblings is the number of keys or items so far at the innermost level.
func (n *nesting) siblings() int {
	if len(n.levels) == 0 {
		return 0
	}
	return n.levels[len(n.levels)-1].items
}

// counter counts the keys below the top-level key systems, in both styles of YAML.
type counter struct {
	inside bool
	at     place
	flow   int // brackets around the systems' names
	column int // of the first system's name
	count  int
}

func (c *counter) add(t, previous *token.Token, flow int) {
	if flow < c.flow {
		*c = counter{at: c.at, count: c.count}
	}
	if t.Type == token.MappingStartType && c.inside && c.column == 0 && c.flow == 0 && previous != nil && previous.Type == token.MappingValueType {
		c.flow = flow
	}
	if t.Type != token.MappingValueType || previous == nil {
		return
	}
	top := flow == 0 && previous.Position.Column == 1 || flow == 1 && c.flow != 1
	switch {
	case c.inside && c.flow > 0:
		if flow == c.flow {
			c.count++
		}
	case top && previous.Value == "systems" && c.count == 0:
		*c = counter{inside: true, at: place{previous.Position.Line, previous.Position.Column}}
	case top && flow == 0:
		c.inside = false
	case c.inside && flow == 0:
		if c.column == 0 {
			c.column = previous.Position.Column
		}
		if c.column == previous.Position.Column {
			c.count++
		}
	}
}
