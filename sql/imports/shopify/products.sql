-- Products of Shopify's product export (Admin, Products, Export, plain CSV), whose columns
-- https://help.shopify.com/en/manual/products/import-export/using-csv lists. One row a variant: the product's own fields stand
-- on its first row only. As in orders the sku, else the title, is the product.
-- Requires: Handle, Title
-- Reads: Variant SKU, Vendor, Product Category, Type, Tags, Variant Price
-- Ignores: Body*, Published, Option*, Variant*, Image*, Gift Card, SEO*, Google*, Status, Cost per item, Price*, Compare*,
--   Included*, Unit Price*, Collection, Custom*
SELECT product_id, title, category, brand, labels, price
FROM (
  SELECT coalesce(r."Variant SKU", p."Title") AS product_id, p."Title" AS title,
         coalesce(p."Product Category", p."Type") AS category, p."Vendor" AS brand, p."Tags" AS labels,
         money(r."Variant Price") AS price,
         row_number() OVER (PARTITION BY coalesce(r."Variant SKU", p."Title") ORDER BY r._file DESC, r._row) AS place
  FROM raw r JOIN (
    SELECT *, row_number() OVER (PARTITION BY "Handle" ORDER BY _file DESC, _row) AS first FROM raw WHERE "Title" IS NOT NULL
  ) p ON p."Handle" = r."Handle" AND p.first = 1
  WHERE r."Variant Price" IS NOT NULL OR r."Variant SKU" IS NOT NULL OR r."Title" IS NOT NULL
)
WHERE place = 1
ORDER BY product_id
