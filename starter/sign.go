package starter

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/term"

	"github.com/musterhq/muster/internal/sshsig"
)

// identity says who sends a payload, and with which key they sign.
type identity struct {
	as       string
	key      string
	unsigned bool
}

func (i *identity) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&i.as, "as", "", "your name among the estate's people (MUSTER_USER; default: the login name)")
	cmd.Flags().StringVar(&i.key, "key", "", "SSH key to sign with: a private key file, or a public one that the ssh-agent holds (MUSTER_KEY; default: the ssh-agent's only key)")
	cmd.Flags().BoolVar(&i.unsigned, "unsigned", false, "do not sign; counts only where the runbook says trust: unsigned")
	cmd.MarkFlagsMutuallyExclusive("key", "unsigned")
}

// user is who this is: MUSTER_USER, else the login name.
func (a *app) user() string {
	if name := a.getenv("MUSTER_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return a.getenv("USER")
}

func (i *identity) name(a *app) string {
	if i.as != "" {
		return i.as
	}
	return a.user()
}

// sign returns the signature of text, and "" where none is wanted or none can be made and needed is false.
func (i *identity) sign(a *app, text []byte, needed bool) (string, error) {
	if i.unsigned {
		return "", nil
	}
	signer, done, err := i.signer(a)
	if err != nil {
		if !needed && errors.Is(err, errNoKey) {
			return "", nil
		}
		return "", err
	}
	defer done()
	return sshsig.Sign(signer, sshsig.Namespace, text)
}

var errNoKey = errors.New("no key to sign with")

func noKey(format string, values ...any) error {
	return fail("--key PATH names your key, --unsigned sends it without a signature where the runbook allows that",
		"%w: %s", errNoKey, fmt.Sprintf(format, values...))
}

func (i *identity) signer(a *app) (ssh.Signer, func(), error) {
	path := i.key
	if path == "" {
		path = a.getenv("MUSTER_KEY")
	}
	if path == "" {
		return agentSigner(a, nil)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fail("--key names a private key file, or a public one whose key the ssh-agent holds", "read the key: %w", err)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		return agentSigner(a, public)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		signer, err = a.unlock(path, text)
	}
	if err != nil {
		return nil, nil, fail("add it to the ssh-agent, and give its public key as --key", "read the private key %s: %w", path, err)
	}
	return signer, func() {}, nil
}

func (a *app) unlock(path string, text []byte) (ssh.Signer, error) {
	if !isTerminal(a.in) {
		return nil, errors.New("it has a passphrase, and there is no terminal to ask for it")
	}
	fmt.Fprintf(a.err, "Passphrase of %s: ", path)
	passphrase, err := term.ReadPassword(int(a.in.(*os.File).Fd()))
	fmt.Fprintln(a.err)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKeyWithPassphrase(text, passphrase)
}

// agentSigner returns the ssh-agent's signer of a key, or its only one.
func agentSigner(a *app, want ssh.PublicKey) (ssh.Signer, func(), error) {
	socket := a.getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil, noKey("no --key, no MUSTER_KEY, and no ssh-agent (SSH_AUTH_SOCK) is set")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, nil, noKey("the ssh-agent does not answer: %v", err)
	}
	done := func() { _ = conn.Close() } // read from only: nothing is lost
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		done()
		return nil, nil, noKey("the ssh-agent does not list its keys: %v", err)
	}
	var fingerprints []string
	for _, s := range signers {
		if want != nil && string(s.PublicKey().Marshal()) == string(want.Marshal()) {
			return s, done, nil
		}
		fingerprints = append(fingerprints, ssh.FingerprintSHA256(s.PublicKey()))
	}
	if want == nil && len(signers) == 1 {
		return signers[0], done, nil
	}
	done()
	if want != nil {
		return nil, nil, noKey("the ssh-agent does not hold %s; it holds %s", ssh.FingerprintSHA256(want), strings.Join(fingerprints, ", "))
	}
	return nil, nil, noKey("the ssh-agent holds %d keys, say which one by its public key: %s", len(signers), strings.Join(fingerprints, ", "))
}

func newNonce() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read says so
	return hex.EncodeToString(b)
}

func signingTopic() *cobra.Command {
	return &cobra.Command{Use: "signing", Short: "How decisions are signed, also without muster", Long: `muster signs decisions and interventions with your SSH key, in the format of ssh-keygen -Y sign, namespace "muster".
The estate lists your public key among its people. What is signed is a text of one line per field: a name, and a
JSON string in which only ", \ and control characters are escaped.

    muster decision v1                      muster intervention v1
    workflow "failover:shop"                workflow "failover:shop"
    run "<run ID>"                          run "<run ID>"
    gate "approve"                          step "fence/orders"
    plan "<hash>"                           action "retry"
    decision "approve"                      set "timeout" "2m"       (one line for each, sorted; or none)
    approver "ada"                          author "ada"
    reason "change 4711"                    reason "host is back"
    channel "temporal"                      channel "temporal"
    time "2026-01-31T09:30:00Z"             time "2026-01-31T09:30:00Z"
    nonce "b1946ac92492d234"                nonce "591785b794601e21"

Times are in UTC, as RFC 3339 without trailing zeros; a field that is not sent is "". The last line ends with a newline.
A nonce is any text that you have not used in this run. So without muster, with ssh-keygen, jq and the temporal CLI:

    ssh-keygen -Y sign -n muster -f ~/.ssh/id_ed25519 decision.txt        # writes decision.txt.sig
    jq -n --rawfile s decision.txt.sig '{gate: "approve", plan_hash: "<hash>", decision: "approve", approver: "ada",
        reason: "change 4711", channel: "temporal", time: "2026-01-31T09:30:00Z", nonce: "b1946ac92492d234", signature: $s}' > decision.json
    temporal workflow update execute --name decide --workflow-id failover:shop --run-id <run ID> --input-file decision.json

The signal of the same name is the fallback: temporal workflow signal --name decide ... (it gets no answer).`}
}
