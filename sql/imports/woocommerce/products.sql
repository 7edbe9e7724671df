-- Products of WooCommerce's own export (Products, Export), whose columns
-- https://github.com/woocommerce/woocommerce/wiki/Product-CSV-Import-Schema lists. Of several category paths the first is the
-- category, and all are collections.
-- Requires: ID, Name
-- Reads: SKU, Categories, Tags, Brands, Regular price, Sale price
-- Ignores: Type, GTIN*, Published, Is featured*, Visibility*, Short description, Description, Date*, Tax*, In stock*, Stock,
--   Low stock*, Backorders*, Sold individually*, Weight*, Length*, Width*, Height*, Allow*, Purchase note, Shipping class,
--   Images, Download*, Parent, Grouped*, Upsells, Cross-sells, External*, Button*, Position, Attribute*, Meta*, Swatches*
SELECT "ID" AS product_id, "Name" AS title, category_paths("Categories")[1] AS category,
       category_paths("Categories") AS collections, "Brands" AS brand, category_paths("Tags") AS labels,
       money(coalesce("Sale price", "Regular price")) AS price
FROM raw
ORDER BY product_id, _file, _row
