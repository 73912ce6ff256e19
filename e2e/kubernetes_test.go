package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"cartwheel/database/databasetest/dbserver"
)

// A manifest is deploy/kubernetes.yaml.
type manifest struct {
	deployment appsv1.Deployment
	service    corev1.Service
	budget     policyv1.PodDisruptionBudget
}

// readManifest reads the file by Kubernetes' own types: an unknown or doubled field is an error.
func readManifest(t *testing.T) (m manifest, pod corev1.PodSpec, container corev1.Container) {
	t.Helper()
	text, err := os.ReadFile("../deploy/kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := bytes.Split(text, []byte("\n---\n"))
	into := []any{&m.deployment, &m.service, &m.budget}
	if len(documents) != len(into) {
		t.Fatalf("%d documents, want %d", len(documents), len(into))
	}
	for i, document := range documents {
		if err := yaml.UnmarshalStrict(document, into[i]); err != nil {
			t.Fatalf("document %d: %v", i+1, err)
		}
	}
	pod = m.deployment.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers, want 1", len(pod.Containers))
	}
	return m, pod, pod.Containers[0]
}

func TestKubernetes_manifestFitsTheProgram(t *testing.T) {
	t.Parallel()
	m, pod, container := readManifest(t)
	labels := m.deployment.Spec.Template.Labels
	for what, selector := range map[string]map[string]string{
		"Deployment": m.deployment.Spec.Selector.MatchLabels, "Service": m.service.Spec.Selector, "PodDisruptionBudget": m.budget.Spec.Selector.MatchLabels,
	} {
		if len(selector) == 0 || !maps.Equal(selector, labels) {
			t.Errorf("the %s selects %v, the Pods have %v", what, selector, labels)
		}
	}
	help, _, status := run(t, store{}, nil, append([]string{"help"}, container.Args...)...)
	if status != 0 {
		t.Fatalf("help %v: status %d", container.Args, status)
	}
	files := map[string]bool{}
	for _, variable := range container.Env {
		name, isFile := strings.CutSuffix(variable.Name, "_FILE")
		if !strings.Contains(help, "$"+name+")") {
			t.Errorf("serve has no setting %s", name)
		}
		if isFile && path.Dir(variable.Value) != container.VolumeMounts[0].MountPath {
			t.Errorf("%s is outside of the secrets: %s", variable.Name, variable.Value)
		}
		files[path.Base(variable.Value)] = isFile
	}
	text, err := os.ReadFile("../deploy/kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for key, isFile := range files {
		if isFile && !bytes.Contains(text, []byte("--from-literal="+key+"=")) {
			t.Errorf("the Secret's command has no %s", key)
		}
	}
	if mode := *pod.Volumes[0].Secret.DefaultMode; mode != 0o440 {
		t.Errorf("the secrets' mode is %o, want 440", mode)
	}
	const drain = 25 // seconds: load balancers, DRAIN_TIMEOUT and the last answers
	if grace, sleep := *pod.TerminationGracePeriodSeconds, container.Lifecycle.PreStop.Sleep.Seconds; grace < sleep+drain {
		t.Errorf("a Pod is killed after %d s: want %d s of preStop, and %d s to drain", grace, sleep, drain)
	}
	if container.LivenessProbe.HTTPGet.Path != "/healthz" || container.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Error("a Pod without its database is restarted, or gets requests")
	}
	if limit := container.Resources.Limits.Memory().Value(); limit < 384<<20 {
		t.Errorf("the limit of memory is %d MiB, want the 384 that any input may take", limit>>20)
	}
}

// A cluster is what Kubernetes does with Pods, as the manifest says it, ten times as fast: probes,
// endpoints, and the sequence of a Pod's end.
type cluster struct {
	t         *testing.T
	container corev1.Container

	mu        sync.Mutex
	endpoints map[*instance]*httputil.ReverseProxy // guarded by mu
	turn      int                                  // guarded by mu
}

// faster is by how much the test shortens the manifest's times.
const faster = 10

// ServeHTTP gives a request to the endpoints in turn, as a balancer does.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	pods := slices.SortedFunc(maps.Keys(c.endpoints), func(a, b *instance) int { return strings.Compare(a.base, b.base) })
	c.turn++
	endpoint := c.endpoints[pods[c.turn%len(pods)]]
	c.mu.Unlock()
	endpoint.ServeHTTP(w, r)
}

// admit waits until a Pod's readiness probe succeeds, and makes it an endpoint.
func (c *cluster) admit(pod *instance) {
	c.t.Helper()
	probe := c.container.ReadinessProbe
	eventually(c.t, startTimeout, "the Pod is ready", func() bool {
		pause(c.t.Context(), time.Duration(probe.PeriodSeconds)*time.Second/faster)
		response, err := http.Get(pod.base + probe.HTTPGet.Path)
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	target, err := url.Parse(pod.base)
	if err != nil {
		c.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	c.mu.Lock()
	c.endpoints[pod] = proxy
	c.mu.Unlock()
}

// remove ends a Pod: balancers learn of it while preStop sleeps, then it gets SIGTERM.
func (c *cluster) remove(pod *instance) {
	c.t.Helper()
	sleep := time.Duration(c.container.Lifecycle.PreStop.Sleep.Seconds) * time.Second / faster
	pause(c.t.Context(), sleep/2)
	c.mu.Lock()
	proxy := c.endpoints[pod]
	delete(c.endpoints, pod)
	c.mu.Unlock()
	pause(c.t.Context(), sleep/2)
	proxy.Transport.(*http.Transport).CloseIdleConnections()
	pod.signal(syscall.SIGTERM)
	if status := pod.exit(30 * time.Second); status != 0 {
		c.t.Errorf("exit status %d", status)
	}
}

func TestKubernetes_rollingUpdateLosesNoRequest(t *testing.T) {
	t.Parallel()
	m, _, container := readManifest(t)
	update := m.deployment.Spec.Strategy.RollingUpdate
	if update.MaxUnavailable.IntValue() != 0 || update.MaxSurge.IntValue() != 1 {
		t.Fatalf("the update is %v: want a new Pod before an old one goes", update)
	}
	s := serverStore(t, dbserver.MariaDB)
	c := &cluster{t: t, container: container, endpoints: map[*instance]*httputil.ReverseProxy{}}
	var pods []*instance
	for range *m.deployment.Spec.Replicas {
		pods = append(pods, start(t, s))
		c.admit(pods[len(pods)-1])
	}
	s.stock(t, map[string]int{"plenty": 10_000_000})
	service := httptest.NewServer(c)
	defer service.Close()
	shop := &instance{t: t, base: service.URL}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var answered, sold atomic.Int64
	var clients sync.WaitGroup
	for n := range 12 {
		clients.Go(func() {
			client := fmt.Sprintf("client-%d", n)
			for ctx.Err() == nil {
				for _, r := range []request{addition(client, "plenty", 1), purchase(client)} {
					if got := shop.send(t.Context(), r); got.Code != http.StatusOK {
						t.Errorf("%s is answered %v", r.path, got)
						return
					}
					answered.Add(1)
				}
				sold.Add(1)
			}
		})
	}
	for _, old := range pods {
		before := answered.Load()
		eventually(t, soon, "requests go on", func() bool { return answered.Load() > before+200 })
		c.admit(start(t, s))
		c.remove(old)
	}
	stop()
	clients.Wait()
	if got, want := int64(10_000_000)-s.snapshot(t).onHand["plenty"], sold.Load(); got != want || t.Failed() {
		t.Errorf("%d units are sold, the clients bought %d", got, want)
	}
	t.Logf("%d requests while all Pods were replaced", answered.Load())
}
