package sshsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

var message = []byte("muster decision v1\nreason: \"süß\\n\"\n")

// keygen makes a key with the real ssh-keygen and returns its path and its signer.
func keygen(t *testing.T, args ...string) (string, ssh.Signer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	run(t, nil, append([]string{"-q", "-N", "", "-f", path}, args...)...)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey(text)
	require.NoError(t, err)
	return path, signer
}

func run(t *testing.T, stdin []byte, args ...string) string {
	t.Helper()
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "ssh-keygen %v: %s", args, out)
	return string(out)
}

func keyTypes() map[string][]string {
	return map[string][]string{
		"ed25519":   {"-t", "ed25519"},
		"ecdsa-256": {"-t", "ecdsa", "-b", "256"},
		"ecdsa-384": {"-t", "ecdsa", "-b", "384"},
		"ecdsa-521": {"-t", "ecdsa", "-b", "521"},
		"rsa":       {"-t", "rsa", "-b", "2048"},
	}
}

func TestOurSignaturesVerifyWithSSHKeygen(t *testing.T) {
	t.Parallel()
	for name, args := range keyTypes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, signer := keygen(t, args...)
			armored, err := Sign(signer, Namespace, message)
			require.NoError(t, err)
			dir := filepath.Dir(path)
			sig, allowed := filepath.Join(dir, "sig"), filepath.Join(dir, "allowed")
			require.NoError(t, os.WriteFile(sig, []byte(armored), 0o600))
			require.NoError(t, os.WriteFile(allowed, append([]byte("ada "), ssh.MarshalAuthorizedKey(signer.PublicKey())...), 0o600))
			out := run(t, message, "-Y", "verify", "-n", Namespace, "-I", "ada", "-f", allowed, "-s", sig)
			require.Contains(t, out, ssh.FingerprintSHA256(signer.PublicKey()))
		})
	}
}

func TestSignaturesOfSSHKeygenVerify(t *testing.T) {
	t.Parallel()
	for name, args := range keyTypes() {
		for _, hash := range []string{"sha256", "sha512"} {
			t.Run(name+"-"+hash, func(t *testing.T) {
				t.Parallel()
				path, signer := keygen(t, args...)
				text := filepath.Join(filepath.Dir(path), "text")
				require.NoError(t, os.WriteFile(text, message, 0o600))
				run(t, nil, "-q", "-Y", "sign", "-n", Namespace, "-O", "hashalg="+hash, "-f", path, text)
				armored, err := os.ReadFile(text + ".sig")
				require.NoError(t, err)
				fingerprint, err := Verify(string(armored), Namespace, message, []ssh.PublicKey{signer.PublicKey()})
				require.NoError(t, err)
				require.Equal(t, ssh.FingerprintSHA256(signer.PublicKey()), fingerprint)
			})
		}
	}
}

func TestArmorIsWhatSSHKeygenWrites(t *testing.T) {
	t.Parallel()
	// Ed25519 and RSA signatures are deterministic: the same key and text make the same file.
	for _, args := range [][]string{{"-t", "ed25519"}, {"-t", "rsa", "-b", "3072"}} {
		path, signer := keygen(t, args...)
		text := filepath.Join(filepath.Dir(path), "text")
		require.NoError(t, os.WriteFile(text, message, 0o600))
		run(t, nil, "-q", "-Y", "sign", "-n", Namespace, "-f", path, text)
		want, err := os.ReadFile(text + ".sig")
		require.NoError(t, err)
		got, err := Sign(signer, Namespace, message)
		require.NoError(t, err)
		require.Equal(t, string(want), got)
	}
}

func TestAgentSigns(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	ring := agent.NewKeyring()
	go func() { _ = agent.ServeAgent(ring, there) }()
	t.Cleanup(func() { require.NoError(t, here.Close()) })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	signers, err := agent.NewClient(here).Signers()
	require.NoError(t, err)
	armored, err := Sign(signers[0], Namespace, message)
	require.NoError(t, err)
	_, err = Verify(armored, Namespace, message, []ssh.PublicKey{signers[0].PublicKey()})
	require.NoError(t, err)
}

func ed25519Signer(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromSigner(key)
	require.NoError(t, err)
	return signer
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	signer, other := ed25519Signer(t), ed25519Signer(t)
	good, err := Sign(signer, Namespace, message)
	require.NoError(t, err)
	elsewhere, err := Sign(signer, "file", message)
	require.NoError(t, err)
	raw, err := dearmor(good)
	require.NoError(t, err)
	changed := bytes.Clone(raw)
	changed[len(changed)-1] ^= 1
	allowed := []ssh.PublicKey{signer.PublicKey()}

	tests := []struct {
		name, armored, namespace, text string
		allowed                        []ssh.PublicKey
		want                           string
	}{
		{"other text", good, Namespace, string(message) + " ", allowed, "is not of this text"},
		{"one bit", armor(changed), Namespace, string(message), allowed, "is not of this text"},
		{"other key", good, Namespace, string(message), []ssh.PublicKey{other.PublicKey()}, "none of the 1 allowed keys"},
		{"no key", good, Namespace, string(message), nil, "none of the 0 allowed keys"},
		{"other namespace", elsewhere, Namespace, string(message), allowed, `for namespace "file", not "muster"`},
		{"no namespace", good, "", string(message), allowed, "namespace"},
		{"empty", "", Namespace, string(message), allowed, "does not begin with"},
		{"cut", good[:len(good)-10], Namespace, string(message), allowed, "does not end with"},
		{"not base64", strings.Replace(good, "U1NI", "U!NI", 1), Namespace, string(message), allowed, "not base64"},
		{"magic", armor(raw[1:]), Namespace, string(message), allowed, "does not begin with SSHSIG"},
		{"trailing", armor(append(bytes.Clone(raw), 0)), Namespace, string(message), allowed, "malformed"},
		{"short", armor(raw[:20]), Namespace, string(message), allowed, "malformed"},
		{"huge", begin + strings.Repeat("A", maxArmored) + end, Namespace, string(message), allowed, "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fingerprint, err := Verify(tt.armored, tt.namespace, []byte(tt.text), tt.allowed)
			require.ErrorContains(t, err, tt.want)
			require.Empty(t, fingerprint)
		})
	}
}

// forge wraps a signature made by make over the signed data, so that tests can lie about any part.
func forge(t *testing.T, key ssh.PublicKey, hash string, sign func(signed []byte) *ssh.Signature) string {
	t.Helper()
	signed, err := signedData(Namespace, "", hash, message)
	require.NoError(t, err)
	return armor(append([]byte(magic), ssh.Marshal(blob{
		Version: version, PublicKey: key.Marshal(), Namespace: Namespace, Hash: hash, Signature: ssh.Marshal(*sign(signed)),
	})...))
}

func TestWeakKeysAndAlgorithmsAreRefused(t *testing.T) {
	t.Parallel()
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromSigner(long)
	require.NoError(t, err)
	sha1 := forge(t, signer.PublicKey(), hashSHA512, func(signed []byte) *ssh.Signature {
		sig, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, signed, ssh.KeyAlgoRSA)
		require.NoError(t, err)
		return sig
	})
	_, err = Verify(sha1, Namespace, message, []ssh.PublicKey{signer.PublicKey()})
	require.ErrorContains(t, err, `"ssh-rsa" is not accepted`)

	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	signer, err = ssh.NewSignerFromSigner(weak)
	require.NoError(t, err)
	_, err = Sign(signer, Namespace, message)
	require.ErrorContains(t, err, "shorter than 2048 bits")
	_, err = ParseKeys([]string{string(ssh.MarshalAuthorizedKey(signer.PublicKey()))})
	require.ErrorContains(t, err, "shorter than 2048 bits")
}

// The token signs as FIDO tokens do: over the hashes of application and text, with flags and a counter.
func TestSecurityKeys(t *testing.T) {
	t.Parallel()
	const application = "ssh:"
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	edKey, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Name string
		Key  []byte
		App  string
	}{ssh.KeyAlgoSKED25519, public, application}))
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := ec.PublicKey.Bytes()
	require.NoError(t, err)
	ecKey, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Name, Curve string
		Key         []byte
		App         string
	}{ssh.KeyAlgoSKECDSA256, "nistp256", point, application}))
	require.NoError(t, err)

	token := func(key ssh.PublicKey, flags byte) func([]byte) *ssh.Signature {
		return func(signed []byte) *ssh.Signature {
			app, text := sha256.Sum256([]byte(application)), sha256.Sum256(signed)
			rest := []byte{flags, 0, 0, 0, 7}
			data := bytes.Join([][]byte{app[:], rest, text[:]}, nil)
			sig := &ssh.Signature{Format: key.Type(), Rest: rest}
			if key.Type() == ssh.KeyAlgoSKED25519 {
				sig.Blob = ed25519.Sign(private, data)
				return sig
			}
			sum := sha256.Sum256(data)
			r, s, err := ecdsa.Sign(rand.Reader, ec, sum[:])
			require.NoError(t, err)
			sig.Blob = ssh.Marshal(struct{ R, S *big.Int }{r, s})
			return sig
		}
	}
	for _, key := range []ssh.PublicKey{edKey, ecKey} {
		fingerprint, err := Verify(forge(t, key, hashSHA256, token(key, 1)), Namespace, message, []ssh.PublicKey{key})
		require.NoError(t, err, key.Type())
		require.Equal(t, ssh.FingerprintSHA256(key), fingerprint)
		_, err = Verify(forge(t, key, hashSHA512, token(key, 0)), Namespace, message, []ssh.PublicKey{key})
		require.ErrorContains(t, err, "touched", key.Type())
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	signer := ed25519Signer(t)
	line := string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	keys, err := ParseKeys([]string{line, strings.TrimSpace(line) + " ada@example.org"})
	require.NoError(t, err)
	require.Len(t, keys, 2)
	_, err = ParseKeys([]string{line, "ssh-ed25519 nonsense"})
	require.ErrorContains(t, err, "public key 2")
}

func FuzzVerify(f *testing.F) {
	signer := ed25519Signer(f)
	good, err := Sign(signer, Namespace, message)
	require.NoError(f, err)
	f.Add(good, message)
	f.Add(good, []byte{})
	f.Add(begin+"\n"+end, message)
	allowed := []ssh.PublicKey{signer.PublicKey()}
	f.Fuzz(func(t *testing.T, armored string, text []byte) {
		fingerprint, err := Verify(armored, Namespace, text, allowed)
		if err != nil {
			require.Empty(t, fingerprint)
			return
		}
		require.Equal(t, message, text, "only the signed text verifies")
	})
}
