-- The lines of Shopify's order export, https://help.shopify.com/en/manual/fulfillment/managing-orders/exporting-orders.
-- There is no product id: the sku, else the line's name, is the product. Of an order that several files hold, the last
-- file's lines count.
-- Beside: orders
-- Requires: Name, Lineitem quantity, Lineitem name
-- Reads: Lineitem price, Lineitem sku, Vendor
-- Ignores: *
SELECT "Name" AS order_id, coalesce("Lineitem sku", "Lineitem name") AS product_id,
       row_number() OVER (PARTITION BY "Name" ORDER BY _row) AS line,
       "Lineitem sku" AS sku, "Lineitem name" AS title, "Vendor" AS brand, "Lineitem quantity" AS quantity,
       money("Lineitem price") AS unit_price
FROM (SELECT *, max(_file) OVER (PARTITION BY "Name") AS newest FROM raw WHERE "Lineitem name" IS NOT NULL)
WHERE _file = newest
ORDER BY order_id, line
