-- Lines of UCI Online Retail as delivered: https://archive.ics.uci.edu/dataset/352/online+retail. A line of a credit note returns
-- the latest earlier purchase of the same product by the same customer, at most what was bought there; one that finds none is
-- left out.
-- Beside: orders
-- Requires: InvoiceNo, StockCode, Quantity, InvoiceDate, UnitPrice, CustomerID
-- Reads: Description
-- Ignores: Country
WITH lines AS (
  SELECT "InvoiceNo" AS invoice, "StockCode" AS product, regexp_replace("CustomerID", '\.0$', '') AS customer,
         "Description" AS title, TRY_CAST("Quantity" AS BIGINT) AS quantity, "UnitPrice" AS price, "InvoiceDate" AS at, _file, _row
  FROM raw WHERE "CustomerID" IS NOT NULL AND TRY_CAST("UnitPrice" AS DOUBLE) > 0
),
bought AS (SELECT * FROM lines WHERE NOT starts_with(invoice, 'C') AND quantity > 0),
returned AS (
  SELECT _file, _row, sum(quantity) AS quantity, max(at) AS at FROM (
    SELECT b._file, b._row, -c.quantity AS quantity, c.at,
           row_number() OVER (PARTITION BY c._file, c._row ORDER BY b.at DESC, b._file DESC, b._row DESC) AS place
    FROM (SELECT * FROM lines WHERE starts_with(invoice, 'C') AND quantity < 0) c
    JOIN bought b ON b.customer = c.customer AND b.product = c.product AND b.at <= c.at
  ) WHERE place = 1 GROUP BY _file, _row
)
SELECT b.invoice AS order_id, b.product AS product_id,
       row_number() OVER (PARTITION BY b.invoice ORDER BY b._file, b._row) AS line, b.product AS sku, b.title,
       b.quantity, b.price AS unit_price, CASE WHEN r.quantity > b.quantity THEN b.quantity ELSE r.quantity END AS returned_quantity, r.at AS returned_at
FROM returned r RIGHT JOIN bought b ON r._file = b._file AND r._row = b._row
ORDER BY order_id, line
