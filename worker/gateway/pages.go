package gateway

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// pageTimeout bounds all that one page asks of the runs.
const pageTimeout = 8 * time.Second

// tail is how many of the journal's last entries a run's page shows.
const tail = 40

func (g *Gateway) routes() map[string]http.HandlerFunc {
	if g.signIn == nil {
		return map[string]http.HandlerFunc{"GET /{$}": func(w http.ResponseWriter, r *http.Request) {
			g.problem(w, r, nil, http.StatusNotFound, "There are no pages here",
				"This gateway has no sign-in (OIDC) configured. Decide with muster approve or muster reject, or where the notices of your gates arrive.")
		}}
	}
	return map[string]http.HandlerFunc{
		"GET /{$}":                    g.signedIn(g.list),
		"GET /runs/{workflow}":        g.signedIn(g.latest),
		"GET /runs/{workflow}/{run}":  g.signedIn(g.show),
		"POST /runs/{workflow}/{run}": g.signedIn(g.answer),
		"GET /sign-in":                g.startSignIn,
		"GET /oidc/callback":          g.finishSignIn,
		"POST /sign-out":              g.signOut,
	}
}

// signedIn asks for a sign-in where there is none. Nothing that needs one is told or done before.
func (g *Gateway) signedIn(next func(http.ResponseWriter, *http.Request, session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, ok := g.of(r)
		if !ok {
			back := "/sign-in?" + url.Values{"back": {r.URL.EscapedPath()}}.Encode() // what takes a form shows the page of it too
			g.render(w, r, http.StatusUnauthorized, page{Title: "Sign in", Body: "sign-in", SignIn: back, Lost: r.Method == http.MethodPost})
			return
		}
		next(w, r, s)
	}
}

// bounded gives a page its own time: what was waited for an answer before does not count.
func bounded(r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	return r.WithContext(ctx), cancel
}

// page is what the template is given.
type page struct {
	Title   string
	Body    string // which of the template's bodies
	Session *session
	Now     time.Time
	Request string // its ID

	Heading, Text string // message
	SignIn        string // sign-in: where to
	Lost          bool   // sign-in: a form was sent, and nothing was done
	List          *listView
	Run           *runView
}

func (g *Gateway) render(w http.ResponseWriter, r *http.Request, code int, p page) {
	p.Now = g.now().UTC()
	p.Request, _ = r.Context().Value(requestKey{}).(string)
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page", p); err != nil {
		g.log.Error("write a page", "page", p.Body, "id", p.Request, "why", err.Error())
		http.Error(w, "internal error, request "+p.Request, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // the browser went away: nobody is left to tell
}

func (g *Gateway) problem(w http.ResponseWriter, r *http.Request, s *session, code int, heading, text string) {
	if s == nil && g.signIn != nil {
		if known, ok := g.of(r); ok {
			s = &known
		}
	}
	signIn := ""
	if g.signIn != nil && s == nil {
		signIn = "/sign-in"
	}
	g.render(w, r, code, page{Title: heading, Body: "message", Session: s, Heading: heading, Text: text, SignIn: signIn})
}

func (g *Gateway) notFound(w http.ResponseWriter, r *http.Request) {
	g.problem(w, r, nil, http.StatusNotFound, "There is no such page", "The list of what waits for a decision is at the start page.")
}

// noRun says the same whether the run is unknown or not theirs to see.
func (g *Gateway) noRun(w http.ResponseWriter, r *http.Request, s session) {
	g.problem(w, r, &s, http.StatusNotFound, "There is no such run for you",
		"It is unknown, too old, or of an estate whose people you are not one of. You signed in as "+strings.Join(s.Who, " and ")+".")
}

// silent says that runs cannot be asked.
func (g *Gateway) silent(w http.ResponseWriter, r *http.Request, s session, err error) {
	id, _ := r.Context().Value(requestKey{}).(string)
	g.log.Warn("a page could not ask the runs", "id", id, "why", err.Error())
	g.problem(w, r, &s, http.StatusBadGateway, "The runs do not answer", "Temporal or the worker cannot be reached just now. Try again in a moment.")
}

func (g *Gateway) latest(w http.ResponseWriter, r *http.Request, s session) {
	r, done := bounded(r)
	defer done()
	status, _, err := g.seen(r, s, "")
	switch {
	case errors.Is(err, ErrNoRun):
		g.noRun(w, r, s)
	case err != nil:
		g.silent(w, r, s, err)
	default:
		http.Redirect(w, r, run.PagePath(status.Header.WorkflowID, status.Header.RunID), http.StatusSeeOther)
	}
}

// seen returns a run's status and who s is in its estate; ErrNoRun where that is nobody.
func (g *Gateway) seen(r *http.Request, s session, runID string) (run.Status, found, error) {
	status, err := g.opts.Runs.Status(r.Context(), r.PathValue("workflow"), runID)
	if err != nil {
		return run.Status{}, found{}, err
	}
	estate, err := g.opts.Estate(status.Header.Estate)
	if err != nil {
		return run.Status{}, found{}, err
	}
	person, err := findPerson(estate, s.Who)
	if err != nil || !run.MayLook.To(person.person.Roles) {
		g.log.Info("not shown", "who", s.Who, "workflow", status.Header.WorkflowID, "person", person.name)
		return run.Status{}, found{}, ErrNoRun
	}
	return status, person, nil
}

func (g *Gateway) show(w http.ResponseWriter, r *http.Request, s session) {
	g.showRun(w, r, s, http.StatusOK, nil, form{})
}

// showRun shows a run's page, above it what was answered, and in its forms what was typed and not accepted.
func (g *Gateway) showRun(w http.ResponseWriter, r *http.Request, s session, code int, told *told, typed form) {
	r, done := bounded(r)
	defer done()
	status, person, err := g.seen(r, s, r.PathValue("run"))
	switch {
	case err != nil && told != nil: // they are told what became of it, whatever they may see
		g.render(w, r, code, page{Title: told.Heading, Body: "message", Session: &s, Heading: told.Heading, Text: told.Text})
		return
	case errors.Is(err, ErrNoRun):
		g.noRun(w, r, s)
		return
	case err != nil:
		g.silent(w, r, s, err)
		return
	}
	v := &runView{Status: status, Person: person, Told: told, Typed: typed, Nonce: token(), Now: g.now().UTC(),
		Decides: run.MayDecide.To(person.person.Roles), Operates: run.MayIntervene.To(person.person.Roles)}
	workflowID, runID := status.Header.WorkflowID, status.Header.RunID
	plan, err := g.opts.Runs.Plan(r.Context(), workflowID, runID)
	if err == nil && plan.Hash != "" {
		v.Plan = &plan
	} else if err != nil {
		g.log.Warn("a plan could not be shown", "workflow", workflowID, "why", err.Error())
	}
	if v.Journal, err = g.opts.Runs.Journal(r.Context(), workflowID, runID, max(0, status.Entries-tail)); err != nil {
		g.log.Warn("a journal could not be shown", "workflow", workflowID, "why", err.Error())
	}
	g.render(w, r, code, page{Title: status.Header.WorkflowID, Body: "run", Session: &s, Run: v})
}

// answer takes a decision or an intervention. Who may do what is the run's to say, and its journal keeps what it refuses.
func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, s session) {
	if err := r.ParseForm(); err != nil {
		code := http.StatusBadRequest
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			code = http.StatusRequestEntityTooLarge
		}
		g.problem(w, r, &s, code, "Nothing was done", "The form could not be read. Open the run's page again.")
		return
	}
	if !sameToken(s.CSRF, r.PostForm.Get("csrf")) {
		g.problem(w, r, &s, http.StatusForbidden, "Nothing was done", "The form was not made for this sign-in. Open the run's page again, and decide there.")
		return
	}
	f, err := parseForm(r.PostForm)
	if err != nil {
		f.reason = cut(r.PostForm.Get("reason"), maxReason)
		g.showRun(w, r, s, http.StatusUnprocessableEntity, &told{Heading: "Not sent", Text: err.Error()}, f)
		return
	}
	said, accepted, err := g.Hear(r.Context(), f.word(r.PathValue("workflow"), r.PathValue("run"), s))
	switch {
	case err != nil:
		g.log.Warn("not known whether it counts", "workflow", r.PathValue("workflow"), "why", err.Error())
		g.showRun(w, r, s, http.StatusBadGateway, &told{Heading: "Nobody knows whether it counts",
			Text: "the run did not answer in time. Look at its journal before you send it again."}, f)
	case !accepted:
		g.showRun(w, r, s, http.StatusConflict, &told{Heading: "Refused", Text: said}, f)
	default:
		g.showRun(w, r, s, http.StatusOK, &told{Heading: "Accepted", Text: said, Good: true}, form{})
	}
}

// told is what became of what somebody sent; for them alone.
type told struct {
	Heading, Text string
	Good          bool
}

// runView is a run's page.
type runView struct {
	run.Status
	Plan     *journal.Plan
	Journal  []journal.Entry
	Person   found
	Decides  bool
	Operates bool
	Told     *told
	Typed    form
	Nonce    string
	Now      time.Time
}

// Shown says whether the plan on this page is the one that the gate asks for: only then can it be decided on here.
func (v runView) Shown(g run.GateStatus) bool { return v.Plan != nil && v.Plan.Hash == g.PlanHash }

// Reason is what the person typed before, where it did not go through.
func (v runView) Reason() string { return v.Typed.reason }

// Steps that are held, not the run itself.
func (v runView) HeldSteps() []run.HoldStatus {
	var held []run.HoldStatus
	for _, h := range v.Holds {
		if h.Step != "" {
			held = append(held, h)
		}
	}
	return held
}

// Ended says that nothing can be told to the run any more.
func (v runView) Ended() bool { return v.State == run.StateEnded }

// estates looks people up once for each estate of a page.
type estates struct {
	load func(string) (runbooks.Estate, error)
	who  []string
	is   map[string]bool
}

func (e estates) has(name string) bool {
	is, known := e.is[name]
	if !known {
		estate, err := e.load(name)
		if err == nil {
			var person found
			person, err = findPerson(estate, e.who)
			is = err == nil && run.MayLook.To(person.person.Roles)
		}
		e.is[name] = is
	}
	return is
}
