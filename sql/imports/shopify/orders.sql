-- Orders of Shopify's order export (Admin, Orders, Export, plain CSV), whose columns
-- https://help.shopify.com/en/manual/fulfillment/managing-orders/exporting-orders lists. One row a line: the order's own
-- fields stand on its first row only. There is no customer id: the e-mail finds the customer.
-- Beside: orders
-- Requires: Name, Created at, Total, Lineitem name
-- Reads: Email, Phone, Financial Status, Paid at, Cancelled at, Currency, Subtotal, Shipping, Taxes, Discount Code,
--   Discount Amount, Refunded Amount, Source
-- Ignores: Id, Accepts Marketing, Fulfillment Status, Fulfilled at, Shipping Method, Lineitem*, Billing*, Shipping*, Notes,
--   Note Attributes, Payment*, Vendor, Outstanding Balance, Employee, Location, Device ID, Tags, Risk Level, Tax*,
--   Receipt Number, Duties, Next Payment Due At
SELECT "Name" AS order_id, any_time("Created at") AS ordered_at, money("Total") AS total,
       "Email" AS email, ltrim("Phone", '''') AS phone,
       CASE WHEN "Cancelled at" IS NOT NULL AND lower("Financial Status") NOT IN ('refunded', 'partially_refunded') THEN 'cancelled'
            ELSE "Financial Status" END AS status,
       "Currency" AS currency, money("Subtotal") AS subtotal, money("Discount Amount") AS discount, money("Shipping") AS shipping,
       money("Taxes") AS tax, money("Refunded Amount") AS refunded, "Discount Code" AS coupon_codes, "Source" AS channel
FROM (
  SELECT *, row_number() OVER (PARTITION BY "Name" ORDER BY _file DESC, _row) AS place FROM raw WHERE "Total" IS NOT NULL
)
WHERE place = 1
ORDER BY order_id
