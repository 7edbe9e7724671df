-- Orders of Volusion's standard export (Inventory, Import/Export, Orders), whose columns
-- https://helpcenter.volusion.com/en/articles/orders-import-export names. Times are the shop's, as m/d/yyyy h:mm:ss AM.
-- Requires: orderid, orderdate, paymentamount
-- Reads: customerid, orderstatus, billingphonenumber, salestax1, salestax2, salestax3, totalshippingcost, total_payment_received,
--   lastmodified, canceldate
-- Ignores: *
SELECT orderid AS order_id, any_time(orderdate) AS ordered_at, any_time(lastmodified) AS updated_at, money(paymentamount) AS total,
       nullif(customerid, '0') AS customer_id, billingphonenumber AS phone,
       CASE WHEN lower(orderstatus) IN ('cancelled', 'canceled', 'cancel order', 'payment declined') THEN 'cancelled'
            WHEN lower(orderstatus) IN ('returned', 'refunded') THEN 'refunded'
            WHEN lower(orderstatus) IN ('partially returned', 'partially refunded') THEN 'partially_refunded'
            WHEN lower(orderstatus) IN ('new', 'pending', 'awaiting payment', 'on hold') THEN 'pending'
            WHEN lower(orderstatus) IN ('processing', 'ready to ship', 'pending shipment', 'partially shipped', 'shipped', 'backordered', 'partially backordered', 'see line items', 'see order notes') THEN 'paid'
            ELSE orderstatus END AS status,
       TRY_CAST(coalesce(TRY_CAST(money(salestax1) AS DECIMAL(18, 2)), 0) + coalesce(TRY_CAST(money(salestax2) AS DECIMAL(18, 2)), 0)
            + coalesce(TRY_CAST(money(salestax3) AS DECIMAL(18, 2)), 0) AS VARCHAR) AS tax,
       money(totalshippingcost) AS shipping
FROM raw
ORDER BY order_id, _file, _row
