-- Every order with its customer, its local day, and its money in the shop's currency.
-- The marker `columns` stands for columns that the contract does not know and that a segment asks about.
-- Inputs: landed_orders, rates_daily, roots, guests. Grain: one row an order; test orders and orders without customer and
-- address are left out. As of: a refund with a time of its own counts from that time on, else from the order's.
SELECT order_id, customer_id, ordered_at, ordered_on, status,
       strpos($counted, ',' || status || ',') > 0 AS is_counted,
       total, refunded, CAST(total - refunded AS DECIMAL(18, 2)) AS net_amount,
       refunded >= total AND (refunded > 0 OR (status = 'refunded' AND NOT not_yet_refunded)) AS fully_refunded,
       discount, subtotal, shipping, tax, currency, rate, coupon_codes, channel, store, recurring, refunded_at, updated_at,
       _version, email, phone /*columns*/
FROM (
  SELECT *, CASE WHEN not_yet_refunded THEN CAST(0 AS DECIMAL(18, 2))
                 WHEN landed_refund IS NULL AND status = 'refunded' THEN total
                 ELSE coalesce(landed_refund, CAST(0 AS DECIMAL(18, 2))) END AS refunded
  FROM (
    SELECT o.order_id, coalesce(r.root, o.customer_id, g.customer_id) AS customer_id, o.ordered_at,
           local_date(o.ordered_at, $zone) AS ordered_on,
           coalesce(o.status, 'paid') AS status,
           CASE WHEN d.rate IS NULL THEN o.total ELSE CAST(o.total * d.rate AS DECIMAL(18, 2)) END AS total,
           CASE WHEN d.rate IS NULL THEN o.refunded ELSE CAST(o.refunded * d.rate AS DECIMAL(18, 2)) END AS landed_refund,
           CASE WHEN d.rate IS NULL THEN o.discount ELSE CAST(o.discount * d.rate AS DECIMAL(18, 2)) END AS discount,
           CASE WHEN d.rate IS NULL THEN o.subtotal ELSE CAST(o.subtotal * d.rate AS DECIMAL(18, 2)) END AS subtotal,
           CASE WHEN d.rate IS NULL THEN o.shipping ELSE CAST(o.shipping * d.rate AS DECIMAL(18, 2)) END AS shipping,
           CASE WHEN d.rate IS NULL THEN o.tax ELSE CAST(o.tax * d.rate AS DECIMAL(18, 2)) END AS tax,
           coalesce(upper(o.currency), $currency) AS currency, d.rate,
           o.refunded_at IS NOT NULL AND o.refunded_at >= $cutoff AS not_yet_refunded,
           o.coupon_codes, o.channel, o.store, o.recurring, o.refunded_at, o.updated_at, o._version, o.email, o.phone
           /*columns*/
    FROM rates_daily d
    RIGHT JOIN (guests g RIGHT JOIN (roots r RIGHT JOIN landed_orders o ON r.id = o.customer_id) ON g.order_id = o.order_id)
      ON d.currency = upper(o.currency) AND d.day = local_date(o.ordered_at, $zone)
    WHERE coalesce(o.test, false) = false
  )
) o
WHERE customer_id IS NOT NULL
