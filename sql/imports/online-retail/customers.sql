-- Customers of UCI Online Retail as delivered: https://archive.ics.uci.edu/dataset/352/online+retail. Of several countries the
-- newest invoice's counts.
-- Requires: InvoiceNo, InvoiceDate, CustomerID, Country
-- Ignores: StockCode, Quantity, UnitPrice, Description
-- Leaves out: without a customer: "CustomerID" IS NULL
SELECT customer_id, country FROM (
  SELECT regexp_replace("CustomerID", '\.0$', '') AS customer_id, "Country" AS country,
         row_number() OVER (PARTITION BY "CustomerID" ORDER BY "InvoiceDate" DESC, _file DESC, _row DESC) AS place
  FROM raw WHERE "CustomerID" IS NOT NULL
)
WHERE place = 1
ORDER BY customer_id
