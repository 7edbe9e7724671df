-- Products of Volusion's standard export (Inventory, Import/Export, Products), whose columns
-- https://helpcenter.volusion.com/en/articles/products-import-export names.
-- Requires: productcode, productname
-- Reads: productprice, saleprice, productmanufacturer, categorytree, productkeywords
-- Ignores: *
SELECT productcode AS product_id, productname AS title, categorytree AS category, productmanufacturer AS brand,
       category_paths(productkeywords) AS labels, money(coalesce(nullif(saleprice, '0'), productprice)) AS price
FROM raw
ORDER BY product_id, _file, _row
