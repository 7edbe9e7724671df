-- Products of Magento's own export (System, Export, Products), whose columns
-- https://experienceleague.adobe.com/en/docs/commerce-admin/systems/data-transfer/data-attributes-product lists. Orders name
-- products by their number, which the export lacks: `product_id` may be joined to it, else the sku is the product. Categories are
-- paths, `Default Category/Gear/Bags`; the first is the category, and all are collections.
-- Requires: sku, name
-- Reads: product_id, categories, price, special_price, manufacturer, store_view_code
-- Ignores: *
SELECT coalesce(product_id, sku) AS product_id, name AS title,
       replace(replace(category_paths(categories)[1], 'Default Category/', ''), '/', ' > ') AS category,
       category_paths(replace(replace(categories, 'Default Category/', ''), '/', ' > ')) AS collections,
       manufacturer AS brand, money(coalesce(special_price, price)) AS price
FROM raw
WHERE store_view_code IS NULL
ORDER BY product_id, _file, _row
