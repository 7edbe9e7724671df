import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/** Reads a running server by the JDBC driver for Postgres, as Metabase, DBeaver and Tableau do. Arguments: host:port. */
class Check {
    static void expect(String what, Object found, Object wanted) {
        if (!String.valueOf(found).equals(String.valueOf(wanted))) {
            throw new IllegalStateException(what + ": got " + found + ", not " + wanted);
        }
    }

    static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        while (rows.next()) {
            values.add(rows.getString(name));
        }
        return values;
    }

    public static void main(String[] arguments) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", "bi");
        properties.setProperty("password", System.getenv("ALLUVIAL_TEST_SECRET"));
        String url = "jdbc:postgresql://" + arguments[0] + "/alluvial";
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            var told = connection.getMetaData();
            expect("product", told.getDatabaseProductName(), "PostgreSQL");
            List<String> tables = column(told.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME");
            expect("tables", tables.containsAll(List.of("customer_profile", "orders", "segment_sizes")), true);
            List<String> views = column(told.getTables(null, "segment", "%", null), "TABLE_NAME");
            expect("views", views.contains("danes"), true);
            List<String> columns = column(told.getColumns(null, "public", "segment_sizes", "%"), "COLUMN_NAME");
            expect("columns", columns.subList(0, 3), List.of("as_of", "previous_as_of", "segment"));
            List<String> schemas = column(told.getSchemas(), "TABLE_SCHEM");
            expect("schemas", schemas.containsAll(List.of("public", "segment")), true);

            try (PreparedStatement statement = connection.prepareStatement(
                    "SELECT customer_id, amount_spent, first_order_date FROM customer_profile_latest WHERE number_of_orders >= ? ORDER BY 1")) {
                // From the fifth time on the driver prepares at the server, and asks for binary.
                for (int time = 0; time < 8; time++) {
                    statement.setLong(1, 2);
                    try (ResultSet rows = statement.executeQuery()) {
                        expect("a row", rows.next(), true);
                        expect("an id", rows.getString(1), "a");
                        expect("money", rows.getBigDecimal(2), new BigDecimal("350.00"));
                        expect("an instant", rows.getTimestamp(3).toInstant(), "2025-02-01T10:00:00Z");
                        expect("one row", rows.next(), false);
                    }
                }
            }
            connection.setAutoCommit(false);
            try (var statement = connection.createStatement()) {
                statement.setFetchSize(100);
                int count = 0;
                try (ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 1050) ORDER BY 1")) {
                    while (rows.next()) {
                        count++;
                        expect("in order", rows.getLong(1), count);
                    }
                }
                expect("fetched in parts", count, 1050);
            }
            connection.commit();
            try (var statement = connection.createStatement()) {
                statement.executeUpdate("DELETE FROM orders");
                throw new IllegalStateException("a write went through");
            } catch (SQLException refused) {
                expect("a write", refused.getSQLState(), "25006");
            }
            connection.rollback();
        }
        System.out.println("JDBC agrees");
    }
}
