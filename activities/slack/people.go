package slack

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	api "github.com/slack-go/slack"
)

// knownFor is how long what Slack said of a person is believed: somebody who was removed cannot click for longer.
const knownFor = time.Minute

// people remembers whom Slack was asked about.
type people struct {
	mu    sync.Mutex
	known map[string]person // by user ID
}

type person struct {
	why string // why this person may not decide; empty: may
	at  time.Time
}

// foreign says why a click from its team does not count; empty where it does.
func (i *Incoming) foreign(c click) string {
	if !slices.Contains(i.Teams, c.team) || c.seenTeam != "" && !slices.Contains(i.Teams, c.seenTeam) {
		return "This estate takes no decisions from your workspace. Nothing was counted."
	}
	return ""
}

// guest says why Slack's view of the person makes a click not count; empty where it counts.
func (i *Incoming) guest(ctx context.Context, c click) (string, error) {
	if p, ok := i.people.get(c.user); ok {
		return p.why, nil
	}
	slack, err := i.client(ctx)
	if err != nil {
		return "", err
	}
	why := ""
	user, err := slack.GetUserInfoContext(ctx, c.user)
	var said api.SlackErrorResponse
	switch {
	case errors.As(err, &said) && slices.Contains([]string{"user_not_found", "user_not_visible", "users_not_found"}, said.Err):
		why = "Slack does not know you as a member of this workspace. Nothing was counted."
	case err != nil:
		return "", err
	case user.Deleted:
		why = "Your account is deactivated. Nothing was counted."
	case user.IsRestricted || user.IsUltraRestricted:
		why = "Guests cannot decide. Nothing was counted."
	case user.IsStranger || user.TeamID != "" && !slices.Contains(i.Teams, user.TeamID):
		why = "People of other workspaces cannot decide. Nothing was counted."
	case user.IsBot || user.IsWorkflowBot || user.IsConnectorBot:
		why = "Bots cannot decide. Nothing was counted."
	}
	i.people.put(c.user, person{why: why, at: time.Now()})
	return why, nil
}

func (p *people) get(user string) (person, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.known[user]
	return found, ok && time.Since(found.at) < knownFor
}

func (p *people) put(user string, found person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) > 10_000 {
		p.known = map[string]person{}
	}
	p.known[user] = found
}
