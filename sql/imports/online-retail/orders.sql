-- Orders of UCI Online Retail as delivered, one row a line: https://archive.ics.uci.edu/dataset/352/online+retail. Credit notes
-- (invoice numbers that begin with C) become refunds of the purchase that they take back: see order_items.sql.
-- Beside: orders
-- Requires: InvoiceNo, StockCode, Quantity, InvoiceDate, UnitPrice, CustomerID
-- Reads: Description
-- Ignores: Country
-- Leaves out: without a customer: "CustomerID" IS NULL
-- Leaves out: without a price: "CustomerID" IS NOT NULL AND TRY_CAST("UnitPrice" AS DOUBLE) <= 0
WITH lines AS (
  SELECT "InvoiceNo" AS invoice, "StockCode" AS product, regexp_replace("CustomerID", '\.0$', '') AS customer,
         TRY_CAST("Quantity" AS BIGINT) AS quantity, TRY_CAST("UnitPrice" AS DECIMAL(18, 4)) AS price, "InvoiceDate" AS at, _file, _row
  FROM raw WHERE "CustomerID" IS NOT NULL AND TRY_CAST("UnitPrice" AS DOUBLE) > 0
),
bought AS (SELECT * FROM lines WHERE NOT starts_with(invoice, 'C') AND quantity > 0),
returned AS (
  SELECT invoice, _file, _row, sum(quantity) AS quantity, max(at) AS at FROM (
    SELECT b.invoice, b._file, b._row, -c.quantity AS quantity, c.at,
           row_number() OVER (PARTITION BY c._file, c._row ORDER BY b.at DESC, b._file DESC, b._row DESC) AS place
    FROM (SELECT * FROM lines WHERE starts_with(invoice, 'C') AND quantity < 0) c
    JOIN bought b ON b.customer = c.customer AND b.product = c.product AND b.at <= c.at
  ) WHERE place = 1 GROUP BY invoice, _file, _row
)
SELECT b.invoice AS order_id, min(b.at) AS ordered_at,
       CAST(CAST(sum(CAST(b.quantity AS DECIMAL(18, 0)) * b.price) AS DECIMAL(18, 2)) AS VARCHAR) AS total, min(b.customer) AS customer_id,
       CASE WHEN sum(r.quantity) > 0 THEN 'partially_refunded' ELSE 'paid' END AS status,
       CAST(CAST(sum(CAST(CASE WHEN r.quantity > b.quantity THEN b.quantity ELSE r.quantity END AS DECIMAL(18, 0)) * b.price) AS DECIMAL(18, 2)) AS VARCHAR) AS refunded,
       max(r.at) AS refunded_at
FROM returned r RIGHT JOIN bought b ON r._file = b._file AND r._row = b._row
GROUP BY b.invoice
ORDER BY order_id
