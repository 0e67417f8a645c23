// SPDX-License-Identifier: PostgreSQL
//
// net/http and pgx with keys: a handler around the others verifies.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4/pgxpool"
)

// A timestamptz of infinity does not fit into a time.Time, nor a numeric into a
// float64: so they are read into pgtype's types.
type answer struct {
	valid                    bool
	code                     string
	reason                   *string
	id                       pgtype.UUID
	name                     *string
	expiresAt                pgtype.Timestamptz
	retryAfter, resetsIn     *int32
	limitMax, limitRemaining pgtype.Numeric
}

var pool *pgxpool.Pool

func verify(ctx context.Context, key, model, endpoint, address string) (a answer, err error) {
	err = pool.QueryRow(ctx, `
		SELECT valid, code, reason, id, name, expires_at, retry_after, limit_resets_in,
		       ceil(limit_max), ceil(limit_remaining)
		  FROM apikey_verify($1::text, model => $2::text, endpoint => $3::text, client_ip => $4::text)`,
		key, model, endpoint, address).
		Scan(&a.valid, &a.code, &a.reason, &a.id, &a.name, &a.expiresAt, &a.retryAfter, &a.resetsIn, &a.limitMax, &a.limitRemaining)

	// Bytes that are no text of the database's encoding are no key.
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "22021" {
		reason := "API key not found"
		return answer{code: "NOT_FOUND", reason: &reason}, nil
	}
	return a, err
}

func (a *answer) status() int {
	switch a.code {
	case "VALID":
		return http.StatusOK
	case "FORBIDDEN", "INSUFFICIENT_PERMISSIONS":
		return http.StatusForbidden
	case "RATE_LIMITED":
		return http.StatusTooManyRequests
	case "BUDGET_EXCEEDED":
		if a.retryAfter == nil {
			return http.StatusPaymentRequired
		}
		return http.StatusTooManyRequests
	}
	return http.StatusUnauthorized
}

func text(n pgtype.Numeric) string {
	value, _ := n.Value() // never an error for what was read from a column
	return decimal(fmt.Sprint(value))
}

// pgtype writes a numeric as digits and an exponent: 1342e-3.
func decimal(value string) string {
	digits, exponent, found := strings.Cut(value, "e")
	if !found {
		return value
	}
	var shift int
	fmt.Sscan(exponent, &shift)
	if shift >= 0 {
		return digits + strings.Repeat("0", shift)
	}
	for len(digits) <= -shift {
		digits = "0" + digits
	}
	return digits[:len(digits)+shift] + "." + digits[len(digits)+shift:]
}

func (a *answer) setHeaders(header http.Header) {
	if a.limitMax.Status == pgtype.Present {
		header.Set("RateLimit-Limit", text(a.limitMax))
		header.Set("RateLimit-Remaining", text(a.limitRemaining))
	}
	if a.resetsIn != nil {
		header.Set("RateLimit-Reset", fmt.Sprint(*a.resetsIn))
	}
	if a.retryAfter != nil {
		header.Set("Retry-After", fmt.Sprint(*a.retryAfter))
	}
	if a.status() == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
}

func keyOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return strings.TrimSpace(r.Header.Get("X-Api-Key"))
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// No answer from the database is no yes.
func unavailable(w http.ResponseWriter, err error) {
	log.Print(err)
	respond(w, http.StatusServiceUnavailable, map[string]string{"code": "UNAVAILABLE"})
}

type handler func(w http.ResponseWriter, r *http.Request, key answer) error

func withKey(next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		a, err := verify(r.Context(), keyOf(r), r.URL.Query().Get("model"), r.URL.Path, host)
		if err != nil {
			unavailable(w, err)
			return
		}
		a.setHeaders(w.Header())
		if !a.valid {
			respond(w, a.status(), map[string]any{"code": a.code, "reason": a.reason})
			return
		}
		if err := next(w, r, a); err != nil {
			unavailable(w, err)
		}
	}
}

func hello(w http.ResponseWriter, r *http.Request, key answer) error {
	var at any
	switch {
	case key.expiresAt.InfinityModifier == pgtype.Infinity:
		at = "never"
	case key.expiresAt.Status == pgtype.Present:
		at = key.expiresAt.Time.UTC().Format(time.RFC3339)
	}
	respond(w, http.StatusOK, map[string]any{"name": key.name, "expires_at": at})
	return nil
}

func usage(w http.ResponseWriter, r *http.Request, key answer) error {
	if r.Method == http.MethodPost {
		// As texts: pgx would ask for an int64 and a Numeric.
		_, err := pool.Exec(r.Context(),
			"SELECT apikey_record_usage($1::uuid, tokens => $2::text::bigint, cost => $3::text::numeric)",
			key.id, r.URL.Query().Get("tokens"), r.URL.Query().Get("cost"))
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	}
	var requests, tokens int64
	var cost pgtype.Numeric
	err := pool.QueryRow(r.Context(), "SELECT total_requests, total_tokens, total_cost FROM apikey_usage($1::uuid)", key.id).
		Scan(&requests, &tokens, &cost)
	if err == nil {
		respond(w, http.StatusOK, map[string]string{"total_requests": fmt.Sprint(requests),
			"total_tokens": fmt.Sprint(tokens), "total_cost": text(cost)})
	}
	return err
}

func limits(w http.ResponseWriter, r *http.Request, key answer) error {
	rows, err := pool.Query(r.Context(), "SELECT name, max, remaining, resets_in FROM apikey_limits($1::uuid)", key.id)
	if err != nil {
		return err
	}
	defer rows.Close()
	all := []map[string]any{}
	for rows.Next() {
		var name string
		var max, remaining pgtype.Numeric
		var in pgtype.Interval
		if err := rows.Scan(&name, &max, &remaining, &in); err != nil {
			return err
		}
		var seconds any
		if in.Status == pgtype.Present {
			seconds = float64(in.Days)*86400 + float64(in.Microseconds)/1e6
		}
		all = append(all, map[string]any{"name": name, "max": text(max), "remaining": text(remaining), "resets_in": seconds})
	}
	if rows.Err() == nil {
		respond(w, http.StatusOK, all)
	}
	return rows.Err()
}

func main() {
	var err error
	if pool, err = pgxpool.Connect(context.Background(), ""); err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/hello", withKey(hello))
	http.HandleFunc("/usage", withKey(usage))
	http.HandleFunc("/limits", withKey(limits))
	fmt.Println("listening")
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
