package webdav

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ownHost lets through requests whose Host is an IP address, localhost or a name
// under .local: names that a page on the Internet cannot make point here.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
		_, err := netip.ParseAddr(host)
		if err != nil && host != "localhost" && !strings.HasSuffix(host, ".local") && !strings.HasSuffix(host, ".localhost") {
			http.Error(w, "this address serves no such host", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownPages refuses what a page of another site embeds or fetches, which
// [http.CrossOriginProtection] lets through for methods that change nothing. A
// link that a user follows is let through.
func ownPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
		if site != "" && site != "same-origin" && site != "none" && !link {
			http.Error(w, "a page of another site may not ask for this", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
