// SPDX-License-Identifier: PostgreSQL
//
// JDBC with the server of the JDK: a filter verifies, as a filter of a servlet
// container would, and the handlers know whose request it is.

import com.sun.net.httpserver.Filter;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.Executors;
import org.postgresql.util.PGInterval;

public class Server {
    interface Work<T> { T with(Connection connection) throws SQLException; }

    // A pool in a few lines; HikariCP does it better.
    static final ConcurrentLinkedDeque<Connection> idle = new ConcurrentLinkedDeque<>();

    static <T> T query(Work<T> work) throws SQLException {
        Connection connection = idle.poll();
        if (connection == null) connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
        try {
            return work.with(connection);
        } finally {
            if (!connection.isClosed()) idle.push(connection);  // an error of the network closes it
        }
    }

    record Answer(boolean valid, String code, String reason, String id, String name, OffsetDateTime expiresAt,
                  Map<String, String> headers) {
        int status() {
            return switch (code) {
                case "VALID" -> 200;
                case "FORBIDDEN", "INSUFFICIENT_PERMISSIONS" -> 403;
                case "RATE_LIMITED" -> 429;
                case "BUDGET_EXCEEDED" -> headers.containsKey("Retry-After") ? 429 : 402;
                default -> 401;
            };
        }
    }

    static final Answer NOT_FOUND =
        new Answer(false, "NOT_FOUND", "API key not found", null, null, null, Map.of());

    static Answer verify(String key, String model, String endpoint, String address) throws SQLException {
        return query(connection -> {
            try (PreparedStatement statement = connection.prepareStatement("""
                    SELECT valid, code, reason, id, name, expires_at, ceil(limit_max), ceil(limit_remaining),
                           limit_resets_in, retry_after
                      FROM apikey_verify(?::text, model => ?::text, endpoint => ?::text, client_ip => ?::text)""")) {
                statement.setString(1, key);
                statement.setString(2, model);
                statement.setString(3, endpoint);
                statement.setString(4, address);
                ResultSet row = statement.executeQuery();
                row.next();
                Map<String, String> headers = new HashMap<>();
                String[] names = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After"};
                for (int i = 0; i < names.length; i++)
                    if (row.getString(7 + i) != null) headers.put(names[i], row.getString(7 + i));
                // A timestamptz of infinity is OffsetDateTime.MAX.
                return new Answer(row.getBoolean(1), row.getString(2), row.getString(3), row.getString(4),
                    row.getString(5), row.getObject(6, OffsetDateTime.class), headers);
            } catch (SQLException error) {
                // Text that PostgreSQL cannot hold is no key.
                if ("22021".equals(error.getSQLState())) return NOT_FOUND;
                throw error;
            }
        });
    }

    static String keyOf(HttpExchange exchange) {
        String authorization = exchange.getRequestHeaders().getFirst("Authorization");
        if (authorization != null && authorization.regionMatches(true, 0, "Bearer ", 0, 7))
            return authorization.substring(7).strip();
        String key = exchange.getRequestHeaders().getFirst("X-Api-Key");
        return key == null ? null : key.strip();
    }

    static String parameter(HttpExchange exchange, String name) {
        String query = exchange.getRequestURI().getRawQuery();
        if (query != null)
            for (String pair : query.split("&"))
                if (pair.startsWith(name + "="))
                    return URLDecoder.decode(pair.substring(name.length() + 1), StandardCharsets.UTF_8);
        return "";
    }

    static void respond(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        if (!body.isEmpty()) exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    static String quote(String text) {
        return text == null ? "null" : '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    static class Verification extends Filter {
        public String description() { return "lets in who has a valid key"; }

        public void doFilter(HttpExchange exchange, Chain chain) throws IOException {
            try {
                Answer answer = verify(keyOf(exchange), parameter(exchange, "model"),
                    exchange.getRequestURI().getPath(), exchange.getRemoteAddress().getAddress().getHostAddress());
                answer.headers().forEach(exchange.getResponseHeaders()::set);
                if (answer.valid()) {
                    exchange.setAttribute("key", answer);
                    chain.doFilter(exchange);
                } else {
                    if (answer.status() == 401) exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer");
                    respond(exchange, answer.status(),
                        "{\"code\": " + quote(answer.code()) + ", \"reason\": " + quote(answer.reason()) + "}");
                }
            } catch (RuntimeException | IOException error) {
                // Among them what a handler wraps: no answer of the database is no yes.
                System.err.println(error.getMessage());
                respond(exchange, 503, "{\"code\": \"UNAVAILABLE\"}");
            } catch (SQLException error) {
                System.err.println(error.getMessage());
                respond(exchange, 503, "{\"code\": \"UNAVAILABLE\"}");
            }
        }
    }

    interface Handler { void handle(HttpExchange exchange, Answer key) throws IOException, SQLException; }

    static void route(HttpServer server, String path, Handler handler) {
        server.createContext(path, exchange -> {
            try {
                handler.handle(exchange, (Answer) exchange.getAttribute("key"));
            } catch (SQLException error) {
                throw new IOException(error);
            }
        }).getFilters().add(new Verification());
    }

    static void hello(HttpExchange exchange, Answer key) throws IOException {
        OffsetDateTime at = key.expiresAt();
        respond(exchange, 200, "{\"name\": " + quote(key.name()) + ", \"expires_at\": "
            + quote(at == null ? null : at.equals(OffsetDateTime.MAX) ? "never" : at.toString()) + "}");
    }

    // A bigint is a long and a numeric a BigDecimal: neither loses digits.
    static void usage(HttpExchange exchange, Answer key) throws IOException, SQLException {
        if (exchange.getRequestMethod().equals("POST")) {
            query(connection -> {
                try (PreparedStatement statement = connection.prepareStatement(
                        "SELECT apikey_record_usage(?::uuid, tokens => ?::bigint, cost => ?::numeric)")) {
                    statement.setString(1, key.id());
                    statement.setLong(2, Long.parseLong(parameter(exchange, "tokens")));
                    statement.setBigDecimal(3, new java.math.BigDecimal(parameter(exchange, "cost")));
                    return statement.execute();
                }
            });
            respond(exchange, 204, "");
            return;
        }
        respond(exchange, 200, query(connection -> {
            try (PreparedStatement statement = connection.prepareStatement(
                    "SELECT total_requests, total_tokens, total_cost FROM apikey_usage(?::uuid)")) {
                statement.setString(1, key.id());
                ResultSet row = statement.executeQuery();
                row.next();
                return "{\"total_requests\": \"" + row.getLong(1) + "\", \"total_tokens\": \"" + row.getLong(2)
                    + "\", \"total_cost\": \"" + row.getBigDecimal(3).toPlainString() + "\"}";
            }
        }));
    }

    // An interval is a PGInterval.
    static void limits(HttpExchange exchange, Answer key) throws IOException, SQLException {
        respond(exchange, 200, query(connection -> {
            try (PreparedStatement statement = connection.prepareStatement(
                    "SELECT name, max, remaining, resets_in FROM apikey_limits(?::uuid)")) {
                statement.setString(1, key.id());
                ResultSet row = statement.executeQuery();
                List<String> limits = new ArrayList<>();
                while (row.next()) {
                    PGInterval in = (PGInterval) row.getObject(4);
                    limits.add("{\"name\": " + quote(row.getString(1)) + ", \"max\": \"" + row.getBigDecimal(2)
                        + "\", \"remaining\": \"" + row.getBigDecimal(3) + "\", \"resets_in\": "
                        + (in == null ? "null" : String.valueOf(in.getDays() * 86400L + in.getHours() * 3600L
                            + in.getMinutes() * 60L + in.getSeconds())) + "}");
                }
                return "[" + String.join(", ", limits) + "]";
            }
        }));
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(
            new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        route(server, "/hello", Server::hello);
        route(server, "/usage", Server::usage);
        route(server, "/limits", Server::limits);
        server.start();
        System.out.println("listening");
    }
}
