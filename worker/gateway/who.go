package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/musterhq/muster/runbooks"
)

// Kinds of names that a channel vouches for: "slack:T0123ABCD/U0456EFGH".
const (
	whoSlack = "slack"
	whoOIDC  = "oidc"
	whoEmail = "email"
)

// found is a person of an estate, and the name that led to them.
type found struct {
	name    string
	person  runbooks.Person
	vouched string
}

// Name is how the estate calls this person.
func (f found) Name() string { return f.name }

// findPerson looks somebody up by any of the names that a channel vouches for. The error says, to that person, why nobody was found.
func findPerson(estate runbooks.Estate, who []string) (found, error) {
	var all []found
	for _, name := range slices.Sorted(maps.Keys(estate.People)) {
		if vouched := matches(estate.People[name], who); vouched != "" {
			all = append(all, found{name, estate.People[name], vouched})
		}
	}
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return found{}, fmt.Errorf("%s is nobody of estate %s (next: have it listed among the estate's people)", strings.Join(who, ", "), estate.Name)
	}
	names := make([]string, 0, len(all))
	for _, f := range all {
		names = append(names, f.name)
	}
	return found{}, fmt.Errorf("%s is several people of estate %s: %s (next: list each name with one person)",
		strings.Join(who, ", "), estate.Name, strings.Join(names, ", "))
}

// matches returns the name in who that is p's, the surest first. Where the estate holds p's own name at a channel, an e-mail address
// does not stand in for another one there: addresses are given to somebody else when people leave.
func matches(p runbooks.Person, who []string) string {
	for _, kind := range []struct{ name, listed string }{{whoOIDC, p.OIDC}, {whoSlack, p.Slack}} {
		given := false
		for _, w := range who {
			if p.GoesBy(w) && strings.HasPrefix(w, kind.name+":") {
				return w
			}
			given = given || kind.listed != "" && strings.HasPrefix(w, kind.name+":")
		}
		if given {
			return ""
		}
	}
	for _, w := range who {
		if p.GoesBy(w) && lower(w) == lower(whoEmail+":"+p.Email) {
			return w
		}
	}
	return ""
}

// lower changes A to Z only: Unicode's own lower case, and its folding, take a Kelvin sign for a k, which is another mailbox.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// nobodys is the name under which the run is told of somebody unknown: the channel's own, and no person's.
func nobodys(estate runbooks.Estate, who string) string {
	for {
		if _, taken := estate.People[who]; !taken {
			return who
		}
		who = "unknown:" + who
	}
}
