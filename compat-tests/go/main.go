// The Go client github.com/go-zookeeper/zk against the server in $ZK.
// Each case prints `ok <feature>` or `FAIL <feature> <reason>`.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

var (
	server, proxied, control = os.Getenv("ZK"), os.Getenv("ZKP"), os.Getenv("CTL")
	open                     = zk.WorldACL(zk.PermAll)
)

type testCase struct {
	name string
	body func(root string)
}

type quiet struct{}

func (quiet) Printf(string, ...interface{}) {}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func fails(want, got error) {
	if !errors.Is(got, want) {
		panic(fmt.Sprintf("expected %q, got %v", want, got))
	}
}

func eq(want, got interface{}) {
	if fmt.Sprint(want) != fmt.Sprint(got) {
		panic(fmt.Sprintf("expected %v, got %v", want, got))
	}
}

func until(what string, f func() bool) {
	for end := time.Now().Add(60 * time.Second); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			panic("never: " + what)
		}
	}
}

func order(o string) {
	c, err := net.Dial("tcp", control)
	check(err)
	defer c.Close()
	fmt.Fprintln(c, o)
	answer, _ := bufio.NewReader(c).ReadString('\n')
	eq("ok", strings.TrimSpace(answer))
}

func connect(at string, timeout time.Duration) (*zk.Conn, <-chan zk.Event) {
	c, events, err := zk.Connect([]string{at}, timeout, zk.WithLogger(quiet{}))
	check(err)
	end := time.After(60 * time.Second)
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return c, events
			}
		case <-end:
			panic("no session")
		}
	}
}

func client() *zk.Conn {
	c, _ := connect(server, 8*time.Second)
	return c
}

func await(ch <-chan zk.Event, kind zk.EventType, path string) {
	select {
	case e := <-ch:
		eq(kind, e.Type)
		eq(path, e.Path)
		check(e.Err)
	case <-time.After(60 * time.Second):
		panic("no event " + path)
	}
}

func put(c *zk.Conn, path, data string) {
	_, err := c.Create(path, []byte(data), 0, open)
	check(err)
}

func read(c *zk.Conn, path string) string {
	d, _, err := c.Get(path)
	check(err)
	return string(d)
}

var cases = []testCase{
	{"connect", func(r string) {
		c := client()
		defer c.Close()
		if c.SessionID() == 0 {
			panic("session 0")
		}
	}},
	{"session-close", func(r string) {
		b := client()
		defer b.Close()
		a := client()
		_, err := a.Create(r+"/e", nil, zk.FlagEphemeral, open)
		check(err)
		_, _, w, err := b.ExistsW(r + "/e")
		check(err)
		a.Close()
		await(w, zk.EventNodeDeleted, r+"/e")
	}},
	{"session-expiry", func(r string) {
		b := client()
		defer b.Close()
		a, events := connect(proxied, 3*time.Second)
		defer a.Close()
		_, err := a.Create(r+"/e", nil, zk.FlagEphemeral, open)
		check(err)
		_, _, w, err := b.ExistsW(r + "/e")
		check(err)
		order("pause")
		await(w, zk.EventNodeDeleted, r+"/e")
		order("resume")
		end := time.After(60 * time.Second)
		for {
			select {
			case e := <-events:
				if e.State == zk.StateExpired {
					return
				}
			case <-end:
				panic("no expired event")
			}
		}
	}},
	{"session-kept-by-pings", func(r string) {
		a, _ := connect(server, 3*time.Second)
		defer a.Close()
		id := a.SessionID()
		_, err := a.Create(r+"/e", nil, zk.FlagEphemeral, open)
		check(err)
		time.Sleep(5 * time.Second)
		ok, _, err := a.Exists(r + "/e")
		check(err)
		eq(true, ok)
		eq(id, a.SessionID())
	}},
	{"reconnect", func(r string) {
		a, _ := connect(proxied, 8*time.Second)
		defer a.Close()
		id := a.SessionID()
		_, err := a.Create(r+"/e", nil, zk.FlagEphemeral, open)
		check(err)
		order("drop")
		until("an answer", func() bool { ok, _, err := a.Exists(r + "/e"); return ok && err == nil })
		eq(id, a.SessionID())
	}},
	{"server-restart", func(r string) {
		a, _ := connect(proxied, 10*time.Second)
		defer a.Close()
		id := a.SessionID()
		_, err := a.Create(r+"/e", nil, zk.FlagEphemeral, open)
		check(err)
		for i := 0; i < 100; i++ {
			put(a, fmt.Sprintf("%s/n%d", r, i), "v")
		}
		order("restart")
		until("an answer", func() bool { ok, _, err := a.Exists(r + "/e"); return ok && err == nil })
		eq(id, a.SessionID())
		kids, _, err := a.Children(r)
		check(err)
		eq(101, len(kids))
	}},
	{"create", func(r string) {
		c := client()
		defer c.Close()
		put(c, r+"/a", "x")
		eq("x", read(c, r+"/a"))
		_, err := c.Create(r+"/a", nil, 0, open)
		fails(zk.ErrNodeExists, err)
		_, err = c.Create(r+"/no/a", nil, 0, open)
		fails(zk.ErrNoNode, err)
	}},
	{"create-ephemeral", func(r string) {
		c := client()
		defer c.Close()
		_, err := c.Create(r+"/e", nil, zk.FlagEphemeral, open)
		check(err)
		_, s, err := c.Exists(r + "/e")
		check(err)
		eq(c.SessionID(), s.EphemeralOwner)
		_, err = c.Create(r+"/e/x", nil, 0, open)
		fails(zk.ErrNoChildrenForEphemerals, err)
	}},
	{"create-sequential", func(r string) {
		c := client()
		defer c.Close()
		p, err := c.Create(r+"/s-", nil, zk.FlagSequence, open)
		check(err)
		eq(r+"/s-0000000000", p)
		p, err = c.CreateProtectedEphemeralSequential(r+"/lock-", nil, open)
		check(err)
		if !strings.HasSuffix(p, "lock-0000000001") {
			panic(p)
		}
	}},
	{"create-container", func(r string) {
		c := client()
		defer c.Close()
		p, err := c.CreateContainer(r+"/c", nil, zk.FlagContainer, open)
		check(err)
		eq(r+"/c", p)
		put(c, r+"/c/x", "")
		check(c.Delete(r+"/c/x", -1))
		until("the container is gone", func() bool { ok, _, err := c.Exists(r + "/c"); return !ok && err == nil })
	}},
	{"create-ttl", func(r string) {
		c := client()
		defer c.Close()
		_, err := c.CreateTTL(r+"/t", nil, zk.FlagTTL, open, 500*time.Millisecond)
		check(err)
		until("the TTL node is gone", func() bool { ok, _, err := c.Exists(r + "/t"); return !ok && err == nil })
	}},
	{"delete", func(r string) {
		c := client()
		defer c.Close()
		put(c, r+"/a", "")
		put(c, r+"/a/b", "")
		fails(zk.ErrNotEmpty, c.Delete(r+"/a", -1))
		fails(zk.ErrBadVersion, c.Delete(r+"/a/b", 3))
		check(c.Delete(r+"/a/b", 0))
		fails(zk.ErrNoNode, c.Delete(r+"/a/b", -1))
	}},
	{"exists", func(r string) {
		c := client()
		defer c.Close()
		ok, _, err := c.Exists(r + "/a")
		check(err)
		eq(false, ok)
		put(c, r+"/a", "12")
		ok, s, err := c.Exists(r + "/a")
		check(err)
		eq(true, ok)
		eq(2, s.DataLength)
	}},
	{"get-children", func(r string) {
		c := client()
		defer c.Close()
		for _, n := range []string{"a", "b", "c"} {
			put(c, r+"/"+n, "")
		}
		kids, s, err := c.Children(r)
		check(err)
		sort.Strings(kids)
		eq([]string{"a", "b", "c"}, kids)
		eq(3, s.NumChildren)
		eq(3, s.Cversion)
	}},
	{"path-rules", func(r string) {
		c := client()
		defer c.Close()
		put(c, r+"/\u00e4\u6f22 space", "odd")
		eq("odd", read(c, r+"/\u00e4\u6f22 space"))
	}},
	{"get-set-data", func(r string) {
		c := client()
		defer c.Close()
		put(c, r+"/a", "0")
		s, err := c.Set(r+"/a", []byte("one"), 0)
		check(err)
		eq(1, s.Version)
		eq("one", read(c, r+"/a"))
		_, err = c.Set(r+"/a", nil, 0)
		fails(zk.ErrBadVersion, err)
		_, err = c.Set(r+"/no", nil, -1)
		fails(zk.ErrNoNode, err)
	}},
	{"large-data", func(r string) {
		c := client()
		defer c.Close()
		big := bytes.Repeat([]byte("0123456789"), 104000)
		_, err := c.Create(r+"/big", big, 0, open)
		check(err)
		d, _, err := c.Get(r + "/big")
		check(err)
		eq(true, bytes.Equal(big, d))
	}},
	{"over-maxbuffer", func(r string) {
		c := client()
		defer c.Close()
		_, err := c.Create(r+"/big", make([]byte, 0xfffff), 0, open)
		// The server may close before all is written, which the library tells as it is.
		var broken *net.OpError
		if !errors.As(err, &broken) {
			fails(zk.ErrConnectionClosed, err)
		}
		until("an answer", func() bool { ok, _, err := c.Exists(r + "/big"); return !ok && err == nil })
	}},
	{"acl-get-set", func(r string) {
		c := client()
		defer c.Close()
		put(c, r+"/a", "")
		acl, _, err := c.GetACL(r + "/a")
		check(err)
		eq(open, acl)
		two := append(zk.WorldACL(zk.PermAll), zk.ACL{Perms: zk.PermRead, Scheme: "ip", ID: "10.0.0.0/8"})
		s, err := c.SetACL(r+"/a", two, 0)
		check(err)
		eq(1, s.Aversion)
		acl, _, err = c.GetACL(r + "/a")
		check(err)
		eq(two, acl)
		_, err = c.SetACL(r+"/a", two, 0)
		fails(zk.ErrBadVersion, err)
	}},
	{"acl-invalid", func(r string) {
		c := client()
		defer c.Close()
		_, err := c.Create(r+"/a", nil, 0, []zk.ACL{{Perms: 31, Scheme: "nosuch", ID: "x"}})
		fails(zk.ErrInvalidACL, err)
		_, err = c.Create(r+"/a", nil, 0, zk.AuthACL(31))
		fails(zk.ErrInvalidACL, err)
	}},
	{"auth-digest", func(r string) {
		a, b := client(), client()
		defer a.Close()
		defer b.Close()
		check(a.AddAuth("digest", []byte("ann:secret")))
		_, err := a.Create(r+"/a", []byte("x"), 0, zk.DigestACL(31, "ann", "secret"))
		check(err)
		_, _, err = b.Get(r + "/a")
		fails(zk.ErrNoAuth, err)
		_, err = b.Set(r+"/a", nil, -1)
		fails(zk.ErrNoAuth, err)
		check(b.AddAuth("digest", []byte("ann:secret")))
		eq("x", read(b, r+"/a"))
	}},
	{"auth-again-after-reconnect", func(r string) {
		a, _ := connect(proxied, 8*time.Second)
		defer a.Close()
		check(a.AddAuth("digest", []byte("ann:secret")))
		_, err := a.Create(r+"/a", []byte("x"), 0, zk.DigestACL(31, "ann", "secret"))
		check(err)
		order("drop")
		until("an answer", func() bool { d, _, err := a.Get(r + "/a"); return err == nil && string(d) == "x" })
	}},
	{"auth-failed", func(r string) {
		a := client()
		defer a.Close()
		if a.AddAuth("nosuch", []byte("x")) == nil {
			panic("the scheme was accepted")
		}
	}},
	{"super-user", func(r string) {
		a := client()
		defer a.Close()
		_, err := a.Create(r+"/no", []byte("x"), 0, []zk.ACL{{Perms: 31, Scheme: "ip", ID: "10.1.2.3"}})
		check(err)
		_, _, err = a.Get(r + "/no")
		fails(zk.ErrNoAuth, err)
		check(a.AddAuth("digest", []byte(os.Getenv("ZK_SUPER"))))
		eq("x", read(a, r+"/no"))
	}},
	{"multi", func(r string) {
		c := client()
		defer c.Close()
		got, err := c.Multi(
			&zk.CreateRequest{Path: r + "/a", Data: []byte("1"), Acl: open},
			&zk.CheckVersionRequest{Path: r + "/a", Version: 0},
			&zk.SetDataRequest{Path: r + "/a", Data: []byte("2"), Version: 0},
			&zk.CreateRequest{Path: r + "/a/s", Acl: open, Flags: zk.FlagEphemeralSequential},
			&zk.CreateRequest{Path: r + "/b", Acl: open},
			&zk.DeleteRequest{Path: r + "/b", Version: -1})
		check(err)
		eq(6, len(got))
		eq(r+"/a", got[0].String)
		eq(1, got[2].Stat.Version)
		eq(r+"/a/s0000000000", got[3].String)
		eq("2", read(c, r+"/a"))
	}},
	{"multi-failed", func(r string) {
		c := client()
		defer c.Close()
		got, err := c.Multi(
			&zk.CreateRequest{Path: r + "/a", Acl: open},
			&zk.CheckVersionRequest{Path: r, Version: 77},
			&zk.DeleteRequest{Path: r + "/never", Version: -1})
		fails(zk.ErrBadVersion, err)
		eq(3, len(got))
		eq(nil, got[0].Error)
		fails(zk.ErrBadVersion, got[1].Error)
		ok, _, err := c.Exists(r + "/a")
		check(err)
		eq(false, ok)
	}},
	{"watch-data", func(r string) {
		a, b := client(), client()
		defer a.Close()
		defer b.Close()
		put(a, r+"/x", "")
		_, _, w, err := a.GetW(r + "/x")
		check(err)
		_, err = b.Set(r+"/x", nil, -1)
		check(err)
		await(w, zk.EventNodeDataChanged, r+"/x")
		_, _, w, err = a.GetW(r + "/x")
		check(err)
		check(b.Delete(r+"/x", -1))
		await(w, zk.EventNodeDeleted, r+"/x")
	}},
	{"watch-exists", func(r string) {
		a, b := client(), client()
		defer a.Close()
		defer b.Close()
		_, _, w, err := a.ExistsW(r + "/x")
		check(err)
		put(b, r+"/x", "")
		await(w, zk.EventNodeCreated, r+"/x")
	}},
	{"watch-children", func(r string) {
		a, b := client(), client()
		defer a.Close()
		defer b.Close()
		_, _, w, err := a.ChildrenW(r)
		check(err)
		put(b, r+"/x", "")
		await(w, zk.EventNodeChildrenChanged, r)
	}},
	{"watches-after-reconnect", func(r string) {
		a, _ := connect(proxied, 8*time.Second)
		b := client()
		defer a.Close()
		defer b.Close()
		for _, n := range []string{"data", "gone", "kids", "same"} {
			put(b, r+"/"+n, "")
		}
		_, _, data, err := a.GetW(r + "/data")
		check(err)
		_, _, gone, err := a.ExistsW(r + "/gone")
		check(err)
		_, _, kids, err := a.ChildrenW(r + "/kids")
		check(err)
		_, _, fresh, err := a.ExistsW(r + "/new")
		check(err)
		_, _, same, err := a.GetW(r + "/same")
		check(err)
		order("pause")
		_, err = b.Set(r+"/data", nil, -1)
		check(err)
		check(b.Delete(r+"/gone", -1))
		put(b, r+"/kids/k", "")
		put(b, r+"/new", "")
		order("resume")
		await(data, zk.EventNodeDataChanged, r+"/data")
		await(gone, zk.EventNodeDeleted, r+"/gone")
		await(kids, zk.EventNodeChildrenChanged, r+"/kids")
		await(fresh, zk.EventNodeCreated, r+"/new")
		_, err = b.Set(r+"/same", nil, -1)
		check(err)
		await(same, zk.EventNodeDataChanged, r+"/same")
	}},
	{"watches-after-server-restart", func(r string) {
		a, _ := connect(proxied, 10*time.Second)
		defer a.Close()
		put(a, r+"/x", "")
		_, _, w, err := a.GetW(r + "/x")
		check(err)
		order("restart")
		b := client()
		defer b.Close()
		_, err = b.Set(r+"/x", nil, -1)
		check(err)
		await(w, zk.EventNodeDataChanged, r+"/x")
	}},
	{"sync", func(r string) {
		c := client()
		defer c.Close()
		p, err := c.Sync(r)
		check(err)
		eq(r, p)
	}},
	{"get-config", func(r string) {
		c := client()
		defer c.Close()
		d, _, err := c.Get("/zookeeper/config")
		check(err)
		eq("", string(d))
	}},
	{"reconfig", func(r string) {
		c := client()
		defer c.Close()
		_, err := c.IncrementalReconfig([]string{"server.5=127.0.0.1:1:2;3"}, nil, -1)
		fails(zk.ErrReconfigDisabled, err)
	}},
	{"pipeline-order", func(r string) {
		c := client()
		defer c.Close()
		var wg sync.WaitGroup
		bad := make(chan error, 2000)
		for i := 0; i < 50; i++ {
			wg.Add(1)
			go func(i int) {
				defer wg.Done()
				for k := 0; k < 20; k++ {
					p := fmt.Sprintf("%s/%d-%d", r, i, k)
					if _, err := c.Create(p, nil, 0, open); err != nil {
						bad <- err
					}
					if err := c.Delete(p, 0); err != nil {
						bad <- err
					}
				}
			}(i)
		}
		wg.Wait()
		close(bad)
		for err := range bad {
			panic(err)
		}
	}},
	{"recipe-lock", func(r string) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		inside, most, total := 0, 0, 0
		for i := 0; i < 4; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				c := client()
				defer c.Close()
				for k := 0; k < 8; k++ {
					l := zk.NewLock(c, r+"/lock", open)
					if l.Lock() != nil {
						return
					}
					mu.Lock()
					inside++
					total++
					if inside > most {
						most = inside
					}
					mu.Unlock()
					time.Sleep(3 * time.Millisecond)
					mu.Lock()
					inside--
					mu.Unlock()
					_ = l.Unlock()
				}
			}()
		}
		wg.Wait()
		eq(1, most)
		eq(32, total)
	}},
	{"four-letter-words", func(r string) {
		eq([]bool{true}, zk.FLWRuok([]string{server}, 60*time.Second))
		// FLWSrvr cannot parse the build date of any ZooKeeper since 3.7.
		c := client()
		defer c.Close()
		cons, ok := zk.FLWCons([]string{server}, 60*time.Second)
		if !ok {
			panic(cons[0].Error)
		}
		if len(cons[0].Clients) < 1 {
			panic("cons is empty")
		}
	}},
}

// A port with TLS, and a folder with certificates. With them the cases with TLS run, without them the others.
var securePort, folder = os.Getenv("ZKS"), os.Getenv("TLS")

func config(shows string) *tls.Config {
	pem, err := os.ReadFile(folder + "/ca.pem")
	check(err)
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(pem)
	if shows != "" {
		own, err := tls.LoadX509KeyPair(folder+"/"+shows+".crt", folder+"/"+shows+".key")
		check(err)
		c.Certificates = []tls.Certificate{own}
	}
	return c
}

// A client with TLS that shows a certificate; nil: it has no session in this time.
func secure(shows string, within time.Duration) *zk.Conn {
	dial := func(network, address string, timeout time.Duration) (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: timeout}, network, address, config(shows))
	}
	c, events, err := zk.Connect([]string{securePort}, 8*time.Second, zk.WithLogger(quiet{}), zk.WithDialer(dial))
	check(err)
	end := time.After(within)
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return c
			}
		case <-end:
			c.Close()
			return nil
		}
	}
}

func letIn(shows string) *zk.Conn {
	c := secure(shows, 60*time.Second)
	if c == nil {
		panic("no session")
	}
	return c
}

func refused(shows string) {
	if c := secure(shows, 1500*time.Millisecond); c != nil {
		c.Close()
		panic("it is let in")
	}
}

// The server gets another certificate, and new connections see it.
func show(name string) {
	order("certificate " + name)
	until("a new certificate", func() bool {
		c, err := tls.Dial("tcp", securePort, &tls.Config{InsecureSkipVerify: true})
		check(err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName == name
	})
}

var secureCases = []testCase{
	{"tls", func(r string) {
		c := letIn("client")
		defer c.Close()
		data := strings.Repeat("x", 300000)
		put(c, r+"/a", data)
		eq(data, read(c, r+"/a"))
	}},
	{"tls-identity", func(r string) {
		c := letIn("client")
		defer c.Close()
		_, err := c.Create(r+"/a", []byte("1"), 0, zk.AuthACL(zk.PermAll))
		check(err)
		acl, _, err := c.GetACL(r + "/a")
		check(err)
		eq([]zk.ACL{{Perms: zk.PermAll, Scheme: "x509", ID: "CN=client"}}, acl)
		eq("1", read(c, r+"/a"))
		other := client()
		defer other.Close()
		_, _, err = other.Get(r + "/a")
		fails(zk.ErrNoAuth, err)
	}},
	{"tls-no-certificate", func(string) { refused("") }},
	{"tls-expired-certificate", func(string) { refused("expired") }},
	{"tls-revoked-certificate", func(string) { refused("revoked") }},
	{"tls-server-expired", func(string) {
		show("outdated")
		refused("client")
		show("good")
		letIn("client").Close()
	}},
	{"tls-server-wrong-host", func(string) {
		show("foreign")
		refused("client")
		show("good")
		letIn("client").Close()
	}},
	{"tls-renewed-under-load", func(r string) {
		c := letIn("client")
		defer c.Close()
		session := c.SessionID()
		put(c, r+"/n", "")
		var done atomic.Int32
		stop, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				if _, err := c.Set(r+"/n", nil, done.Load()); err != nil {
					ended <- err
					return
				}
				done.Add(1)
			}
		}()
		show("renewed")
		at := done.Load()
		until("the writer goes on", func() bool { return done.Load() > at+20 })
		n := letIn("client")
		defer n.Close()
		_, stat, err := n.Get(r + "/n")
		check(err)
		if stat.Version <= at {
			panic("an old version")
		}
		close(stop)
		check(<-ended)
		eq(session, c.SessionID())
		show("good")
	}},
}

func main() {
	if securePort != "" {
		cases = secureCases
	}
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = c.name
	}
	fmt.Println("plan", strings.Join(names, " "))
	bad := 0
	for i, c := range cases {
		if len(os.Args) > 1 && !strings.Contains(" "+strings.Join(os.Args[1:], " ")+" ", " "+c.name+" ") {
			continue
		}
		root := fmt.Sprintf("/go%d", i)
		done := make(chan string, 1)
		go func(c testCase) {
			defer func() {
				if e := recover(); e != nil {
					done <- "FAIL " + c.name + " " + strings.ReplaceAll(fmt.Sprint(e), "\n", " ")
				} else {
					done <- "ok " + c.name
				}
			}()
			z := client()
			put(z, root, "")
			z.Close()
			c.body(root)
		}(c)
		var line string
		select {
		case line = <-done:
		case <-time.After(45 * time.Second):
			line = "FAIL " + c.name + " it hangs"
		}
		fmt.Println(line)
		if !strings.HasPrefix(line, "ok") {
			bad++
			order("resume")
		}
	}
	if bad > 0 {
		os.Exit(1)
	}
}
