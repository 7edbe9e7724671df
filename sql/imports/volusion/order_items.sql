-- Order lines of Volusion's standard export (Inventory, Import/Export, OrderDetails), whose columns
-- https://helpcenter.volusion.com/en/articles/orders-import-export names. Discounts are lines of their own, whose code begins
-- with DSC-: they are left out.
-- Requires: orderdetailid, orderid, productcode, quantity
-- Reads: productname, productprice, qtyreturned, returned, lastmodified
-- Ignores: *
-- Leaves out: discounts, which are no products: starts_with(upper(productcode), 'DSC-')
SELECT orderid AS order_id, productcode AS product_id, orderdetailid AS line, any_time(lastmodified) AS updated_at, productcode AS sku, productname AS title,
       quantity, money(productprice) AS unit_price, qtyreturned AS returned_quantity
FROM raw
WHERE NOT starts_with(upper(productcode), 'DSC-')
ORDER BY order_id, TRY_CAST(orderdetailid AS BIGINT), _file, _row
