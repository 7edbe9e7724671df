//! Exports of shop platforms and e-mail tools, landed by mappings: samples in the shapes that they really have.

use std::path::Path;

use crate::harness::Ran;
use crate::landing_files::TinyShop;

/// Two orders of three lines: the order's own fields stand on its first row only; an e-mail, no customer id; a sku is missing.
const SHOPIFY_ORDERS: &str = "Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,Currency,Subtotal,Shipping,Taxes,Total,Discount Code,Discount Amount,Shipping Method,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem compare at price,Lineitem sku,Lineitem requires shipping,Billing Name,Billing Zip,Shipping Zip,Notes,Cancelled at,Refunded Amount,Vendor,Phone,Source,Loyalty
#1001,ann@example.com,partially_refunded,2026-02-01 09:50:26 +0100,fulfilled,2026-02-02 14:21:21 +0100,yes,DKK,150.00,39.00,30.00,\"1,189.00\",WELCOME10,15.00,Post,2026-02-01 09:50:26 +0100,2,\"Cup, blue\",50.00,,CUP-1,true,Ann Ager,'8000,'8000,,,20.00,Nord,+4532123456,web,gold
#1001,ann@example.com,,,,,,,,,,,,,,2026-02-01 09:50:26 +0100,1,Rug,50.00,,,true,,,,,,,Syd,,,
#1002,bob@example.com,paid,2026-02-03 23:30:00 -0500,,,no,DKK,20.00,0.00,4.00,20.00,,0.00,,2026-02-03 23:30:00 -0500,1,Mat,20.00,,MAT-9,true,,,,,2026-02-04 10:00:00 -0500,0.00,Syd,,pos,
";

fn land(shop: &TinyShop, table: &str, file: &str, text: &str, more: &[&str]) -> Ran {
    shop.folder.write(file, text);
    shop.run(&[&["land", table, file], more].concat())
}

/// A refusal: its exit code, and words of what is said.
fn told(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not said: {}", ran.stderr);
    }
}

/// The rows of a landed table.
fn rows(shop: &TinyShop, columns: &str, table: &str, order: &str) -> Vec<String> {
    shop.rows(&format!("SELECT {columns} FROM landed.{table} ORDER BY {order}"))
}

#[test]
fn shopify_orders_have_one_row_a_line() {
    let shop = TinyShop::empty();
    let ran = land(&shop, "orders", "orders_export.csv", SHOPIFY_ORDERS, &["--from", "shopify"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing reads the columns `Loyalty`"), "{}", ran.stderr);
    assert_eq!(
        rows(
            &shop,
            "order_id, ordered_at, total, email, phone, status, refunded, discount, coupon_codes, channel",
            "orders",
            "1"
        ),
        [
            "#1001 2026-02-01T08:50:26Z 1189.00 ann@example.com +4532123456 partially_refunded 20.00 15.00 [\"WELCOME10\"] web",
            "#1002 2026-02-04T04:30:00Z 20.00 bob@example.com - cancelled 0.00 0.00 - pos",
        ]
    );
    assert_eq!(
        rows(&shop, "order_id, line, product_id, title, brand, quantity, unit_price", "order_items", "1, 2"),
        ["#1001 1 CUP-1 Cup, blue Nord 2 50.0000", "#1001 2 Rug Rug Syd 1 50.0000", "#1002 1 MAT-9 Mat Syd 1 20.0000"]
    );
    let before = shop.files("lake/landing");
    let ran = shop.run(&["land", "orders", "orders_export.csv", "--from", "shopify"]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stdout.matches("landed before").count(), 2, "{}", ran.stdout);
    assert_eq!(shop.files("lake/landing"), before, "the same export landed again changes nothing");
    // Two files at once: the newer one's rows of an order that both have.
    shop.folder.write("more.csv", &SHOPIFY_ORDERS.replace("\"1,189.00\"", "1189.50").replace("#1002", "#1003"));
    let ran = shop.run(&["land", "orders", "orders_export.csv", "more.csv", "--from", "shopify", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(shop.one("SELECT count(*) FROM landed.order_items"), "7", "four of these, three of before");
}

#[test]
fn shopify_customers_and_products() {
    let shop = TinyShop::empty();
    let customers = "Customer ID,First Name,Last Name,Email,Accepts Email Marketing,Default Address Company,Default Address Address1,Default Address Address2,Default Address City,Default Address Province Code,Default Address Country Code,Default Address Zip,Default Address Phone,Phone,Accepts SMS Marketing,Total Spent,Total Orders,Note,Tax Exempt,Tags,Shoe Size\n\
        '7410991464714,Ann,Ager,ann@example.com,yes,,Gade 1,2. tv,Aarhus,,DK,'08000,'+4532123456,,no,1189.00,1,,no,\"vip, news\",39\n\
        '7410991464715,Bob,,bob@example.com,no,,,,,,DE,,,,yes,0,0,,no,,\n";
    let ran = land(&shop, "customers", "customers_export.csv", customers, &["--from", "shopify"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(
            &shop,
            "customer_id, first_name, address, postal_code, phone, country, email_consent, sms_consent, tags, shoe_size",
            "customers",
            "1"
        ),
        [
            "7410991464714 Ann Gade 1, 2. tv 08000 +4532123456 DK subscribed never [\"vip\",\"news\"] 39",
            "7410991464715 Bob - - - DE never subscribed - -",
        ]
    );
    let products = "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Variant SKU,Variant Price,Image Src,Status\n\
        cup,\"Cup, blue\",<p>x</p>,Nord,Home > Kitchen,Cups,\"new, blue\",true,Size,S,CUP-1,50.00,https://x/1.png,active\n\
        cup,,,,,,,,,L,CUP-2,60.00,,\n\
        cup,,,,,,,,,,,,https://x/2.png,\n\
        rug,Rug,,Syd,,Rugs,,true,,,,50.00,,active\n";
    let ran = land(&shop, "products", "products_export.csv", products, &["--from", "shopify"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(&shop, "product_id, title, category, brand, labels, price", "products", "1"),
        [
            "CUP-1 Cup, blue Home > Kitchen Nord [\"new\",\"blue\"] 50.0000",
            "CUP-2 Cup, blue Home > Kitchen Nord [\"new\",\"blue\"] 60.0000",
            "Rug Rug Rugs Syd - 50.0000",
        ]
    );
}

#[test]
fn woocommerce_guests_have_no_id_and_products_several_categories() {
    let shop = TinyShop::empty();
    let orders = "order_id,order_number,date,status,shipping_total,tax_total,discount_total,order_total,refunded_total,order_currency,payment_method,customer_id,billing_first_name,billing_email,billing_phone,item_id,item_product_id,item_name,item_sku,item_quantity,item_total,item_price,item_refunded_qty,coupon_items\n\
        17,17,2026-02-01 10:00:00,wc-completed,5.00,2.00,0.00,€ 57.00,10.00,EUR,card,5,Ann,ann@example.com,,3,101,Cup,CUP-1,2,40.00,20.00,-1,code:SPRING|amount:5.00\n\
        17,17,2026-02-01 10:00:00,wc-completed,5.00,2.00,0.00,€ 57.00,10.00,EUR,card,5,Ann,ann@example.com,,4,102,Rug,,1,10.00,,0,code:SPRING|amount:5.00\n\
        18,18,2026-02-02 10:00:00,on-hold,0,0,0,9.00,0,EUR,bacs,0,Gus,gus@example.com,32 12 34 57,5,101,Cup,CUP-1,1,9.00,9.00,0,\n";
    let ran = land(&shop, "orders", "woo.csv", orders, &["--from", "woocommerce", "--timezone", "Europe/Berlin"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(
            &shop,
            "order_id, ordered_at, total, customer_id, email, status, currency, refunded, coupon_codes",
            "orders",
            "1"
        ),
        [
            "17 2026-02-01T09:00:00Z 57.00 5 ann@example.com paid EUR 10.00 [\"SPRING\"]",
            "18 2026-02-02T09:00:00Z 9.00 - gus@example.com pending EUR 0.00 -",
        ]
    );
    assert_eq!(
        rows(&shop, "order_id, line, product_id, quantity, unit_price, returned_quantity", "order_items", "1, 2"),
        ["17 1 101 2 20.0000 1", "17 2 102 1 10.0000 0", "18 1 101 1 9.0000 0"]
    );
    let products = "ID,Type,SKU,Name,Published,Categories,Tags,Regular price,Sale price\n\
        101,simple,CUP-1,Cup,1,\"Home > Kitchen, Sale, A\\, B\",\"new, blue\",20.00,18.50\n";
    let ran = land(&shop, "products", "products.csv", products, &["--from", "woocommerce"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(&shop, "product_id, category, collections, labels, price", "products", "1"),
        ["101 Home > Kitchen [\"Home > Kitchen\",\"Sale\",\"A, B\"] [\"new\",\"blue\"] 18.5000"]
    );
    let customers = "customer_id,first_name,last_name,email,date_registered,billing_city,billing_country,vat_id\n\
        5,Ann,Ager,ann@example.com,2025-01-01 10:00:00,Aarhus,DK,DK1\n0,Gus,,gus@example.com,,,,\n";
    let ran = land(&shop, "customers", "customers.csv", customers, &["--from", "woocommerce"]);
    assert!(ran.stderr.contains("1 rows are left out: guests"), "{}", ran.stderr);
    assert_eq!(rows(&shop, "customer_id, city, country, vat_id", "customers", "1"), ["5 Aarhus DK DK1"]);
}

#[test]
fn magento_and_volusion() {
    let shop = TinyShop::empty();
    let orders = "entity_id,increment_id,state,status,customer_id,customer_email,grand_total,subtotal,discount_amount,shipping_amount,tax_amount,total_refunded,order_currency_code,coupon_code,created_at,updated_at,store_name,remote_ip\n\
        7,000000007,complete,complete,3,ann@example.com,110.0000,100.0000,-10.0000,5.0000,15.0000,20.0000,DKK,TEN,2026-02-01 10:00:00,2026-02-05 10:00:00,\"Main Website\nMain Store\nDefault\",1.2.3.4\n\
        8,000000008,canceled,canceled,,gus@example.com,5.0000,5.0000,0,0,0,,DKK,,2026-02-02 10:00:00,2026-02-02 10:00:00,Main,1.2.3.4\n";
    let ran = land(&shop, "orders", "sales_order.csv", orders, &["--from", "magento"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let items = "item_id,order_id,parent_item_id,product_id,sku,name,product_type,price,qty_ordered,qty_canceled,qty_refunded,updated_at\n\
        21,7,,55,SHIRT,Shirt,configurable,50.0000,2.0000,0.0000,1.0000,2026-02-05 10:00:00\n\
        22,7,21,56,SHIRT-S,Shirt S,simple,0.0000,2.0000,0.0000,1.0000,2026-02-05 10:00:00\n";
    let ran = land(&shop, "order_items", "sales_order_item.csv", items, &["--from", "magento"]);
    assert!(ran.stderr.contains("1 rows are left out: variants"), "{}", ran.stderr);
    assert_eq!(
        rows(&shop, "order_id, ordered_at, total, customer_id, status, discount, refunded, store", "orders", "1"),
        [
            "7 2026-02-01T10:00:00Z 110.00 3 partially_refunded 10.00 20.00 Main Website",
            "8 2026-02-02T10:00:00Z 5.00 - cancelled 0.00 - Main",
        ]
    );
    assert_eq!(
        rows(&shop, "order_id, line, product_id, quantity, unit_price, returned_quantity", "order_items", "1"),
        ["7 21 55 2 50.0000 1"]
    );
    let customers = "entity_id,website_id,email,group_id,created_at,updated_at,firstname,lastname,dob,gender,created_in,subscriber_status,change_status_at\n\
        3,1,ann@example.com,1,2025-01-01 10:00:00,2026-01-01 10:00:00,Ann,Ager,1980-05-17,2,Default,1,2025-01-02 10:00:00\n";
    let ran = land(&shop, "customers", "customer_entity.csv", customers, &["--from", "magento"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(&shop, "customer_id, created_at, birthday, gender, email_consent, email_consent_at", "customers", "1"),
        ["3 2025-01-01T10:00:00Z 1980-05-17 female subscribed 2025-01-02T10:00:00Z"]
    );
    let products = "sku,store_view_code,product_type,categories,name,price,special_price\n\
        SHIRT,,configurable,\"Default Category/Men,Default Category/Men/Tops\",Shirt,50.00,\nSHIRT,de,,,Hemd,,\n";
    let ran = land(&shop, "products", "catalog_product.csv", products, &["--from", "magento"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(&shop, "product_id, title, category, collections", "products", "1"),
        ["SHIRT Shirt Men [\"Men\",\"Men > Tops\"]"]
    );

    let shop = TinyShop::empty();
    let orders = "orderid,customerid,orderdate,orderstatus,paymentamount,salestax1,salestax2,salestax3,totalshippingcost,billingphonenumber,shippingmethodid\n\
        9001,12,2/1/2026 5:30:00 PM,Shipped,\"$1,060.00\",50.00,10.00,,8.00,2125552368,101\n9002,12,2/2/2026 9:00:00 AM,Cancelled,5.00,0,0,0,0,,101\n";
    let ran = land(&shop, "orders", "Orders.csv", orders, &["--from", "volusion", "--timezone", "America/New_York"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let details = "orderdetailid,orderid,productcode,productname,quantity,productprice,qtyreturned\n\
        1,9001,CUP,Cup,2,$500.00,1\n2,9001,DSC-10,10% off,1,-100.00,0\n";
    let ran = land(&shop, "order_items", "OrderDetails.csv", details, &["--from", "volusion"]);
    assert!(ran.stderr.contains("1 rows are left out: discounts"), "{}", ran.stderr);
    assert_eq!(
        rows(&shop, "order_id, ordered_at, total, status, tax, shipping", "orders", "1"),
        ["9001 2026-02-01T22:30:00Z 1060.00 paid 60.00 8.00", "9002 2026-02-02T14:00:00Z 5.00 cancelled 0.00 0.00"]
    );
    assert_eq!(
        rows(&shop, "product_id, quantity, unit_price, returned_quantity", "order_items", "1"),
        ["CUP 2 500.0000 1"]
    );
    let customers = "customerid,firstname,lastname,emailaddress,emailsubscriber,firstdatevisited,phonenumber,city,state,postalcode,country\n\
        12,Ann,Ager,ann@example.com,Y,1/2/2025 8:00:00 AM,2125552368,New York,NY,10001,United States\n";
    let ran =
        land(&shop, "customers", "Customers.csv", customers, &["--from", "volusion", "--timezone", "America/New_York"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(&shop, "customer_id, created_at, country, region, email_consent", "customers", "1"),
        ["12 2025-01-02T13:00:00Z US NY subscribed"]
    );
    let products = "productcode,productname,productprice,saleprice,productmanufacturer,categorytree\nCUP,Cup,500.00,0,Nord,Home > Kitchen\n";
    let ran = land(&shop, "products", "Products.csv", products, &["--from", "volusion"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(&shop, "product_id, category, brand, price", "products", "1"),
        ["CUP Home > Kitchen Nord 500.0000"]
    );
}

#[test]
fn the_email_tools_bring_consent_with_its_time() {
    let shop = TinyShop::empty();
    let profiles = "Email,Klaviyo ID,External ID,First Name,Last Name,Phone Number,City,State / Region,Country,Zip Code,Source,Email Marketing Consent,Email Marketing Consent Timestamp,SMS Marketing Consent,SMS Marketing Consent Timestamp,Email Suppressions,Profile Created On,Favourite Colour\n\
        ann@example.com,01H1,5,Ann,Ager,'+4532123456,Aarhus,,Denmark,8000,Footer form,SUBSCRIBED,2025-03-01 10:00:00+00:00,NEVER_SUBSCRIBED,,[],2025-03-01 10:00:00,blue\n\
        bob@example.com,01H2,,Bob,,,,,,,,UNSUBSCRIBED,2026-01-05T10:00:00Z,,,\"[{\"\"reason\"\":\"\"HARD_BOUNCE\"\"}]\",2025-04-01 10:00:00,\n";
    let ran = land(&shop, "customers", "klaviyo.csv", profiles, &["--from", "klaviyo", "--timezone", "UTC"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(
            &shop,
            "customer_id, phone, country, email_consent, email_consent_at, sms_consent, email_valid, favourite_colour",
            "customers",
            "1"
        ),
        [
            "01H2 - - unsubscribed 2026-01-05T10:00:00Z - false -",
            "5 +4532123456 DK subscribed 2025-03-01T10:00:00Z never - blue",
        ]
    );
    let shop = TinyShop::empty();
    let head = "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES,TAGS";
    shop.folder.write("subscribed.csv", &format!("{head}\nann@example.com,Ann,Ager,4,2025-03-01 10:00:00,1.2.3.4,2025-03-01 10:05:00,1.2.3.4,DK,Midt,2026-01-01 10:00:00,1,e1,,\"\"\"vip\"\",\"\"news\"\"\"\n"));
    shop.folder.write("unsubscribed.csv", &format!("{head},UNSUB_TIME,UNSUB_CAMPAIGN_ID,UNSUB_REASON\nbob@example.com,Bob,,2,2025-03-01 10:00:00,,2025-03-01 10:00:00,,,,2026-02-01 10:00:00,2,e2,,,2026-02-01 10:00:00,c1,NORMAL\n"));
    shop.folder.write("cleaned.csv", &format!("{head},CLEAN_TIME,CLEAN_CAMPAIGN_TITLE\ncid@example.com,Cid,,2,2025-03-01 10:00:00,,,,,,2026-02-01 10:00:00,3,e3,,,2026-02-01 10:00:00,March\n"));
    let ran =
        shop.run(&["land", "customers", "subscribed.csv", "unsubscribed.csv", "cleaned.csv", "--from", "mailchimp"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        rows(&shop, "customer_id, email_consent, email_consent_at, email_valid, tags", "customers", "1"),
        [
            "e1 subscribed 2025-03-01T10:05:00Z - [\"vip\",\"news\"]",
            "e2 unsubscribed 2026-02-01T10:00:00Z - -",
            "e3 subscribed 2025-03-01T10:00:00Z false -",
        ]
    );
}

#[test]
fn events_of_google_analytics_and_of_segment() {
    let shop = TinyShop::empty();
    let events = r#"{"event_date":"20260201","event_timestamp":"1769940000000001","event_name":"view_item","event_params":[{"key":"page_location","value":{"string_value":"https://shop/x"}},{"key":"value","value":{"double_value":20.5}}],"user_id":"5","user_pseudo_id":"123.456","event_bundle_sequence_id":"9","items":[{"item_id":"101","item_category":"Home"}],"device":{"category":"mobile"}}
{"event_date":"20260201","event_timestamp":"1769940000000002","event_name":"view_search_results","event_params":[{"key":"search_term","value":{"string_value":"cups"}}],"user_pseudo_id":"123.456","event_bundle_sequence_id":"9","items":[]}
{"event_date":"20260201","event_timestamp":"1769940000000003","event_name":"purchase","event_params":[],"user_pseudo_id":"123.456","items":[]}
"#;
    let ran = land(&shop, "events", "events.jsonl", events, &["--from", "ga4"]);
    assert!(ran.stderr.contains("1 rows are left out: purchases"), "{}", ran.stderr);
    assert_eq!(
        rows(
            &shop,
            "type, occurred_at, customer_id, anonymous_id, product_id, category, search_term, value, url",
            "events",
            "occurred_at"
        ),
        [
            "product_viewed 2026-02-01T10:00:00.000001Z 5 123.456 101 Home - 20.5 https://shop/x",
            "searched 2026-02-01T10:00:00.000002Z - 123.456 - - cups - -",
        ]
    );
    let shop = TinyShop::empty();
    let calls = r#"{"type":"track","event":"Product Added","messageId":"m1","userId":"5","anonymousId":"a1","timestamp":"2026-02-01T10:00:00.000Z","properties":{"product_id":"101","category":"Home","quantity":1,"coupon":"TEN"},"context":{"page":{"url":"https://shop/x"}}}
{"type":"page","name":"Home","messageId":"m2","userId":null,"anonymousId":"a1","timestamp":"2026-02-01T10:01:00.000Z","properties":{"url":"https://shop/"}}
{"type":"track","event":"Order Completed","messageId":"m3","userId":"5","anonymousId":"a1","timestamp":"2026-02-01T10:02:00.000Z","properties":{}}
{"type":"identify","messageId":"m4","userId":"5","anonymousId":"a1","timestamp":"2026-02-01T10:02:00.000Z","traits":{"email":"ann@example.com"}}
{"type":"track","event":"Wishlist Opened","messageId":"m5","userId":"5","timestamp":"2026-02-01T10:03:00.000Z"}
"#;
    let ran = land(&shop, "events", "calls.jsonl", calls, &["--from", "segment"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        rows(&shop, "event_id, type, customer_id, product_id, coupon_code, url", "events", "1"),
        [
            "m1 added_to_cart 5 101 TEN https://shop/x",
            "m2 page_viewed - - - https://shop/",
            "m5 wishlist_opened 5 - - -"
        ]
    );
}

#[test]
fn people_write_mappings_of_their_own() {
    let shop = TinyShop::empty();
    shop.folder.write(
        "till.sql",
        "-- The till's file.\n-- Requires: Bon, Zeit, Betrag\n-- Leaves out: of nothing: \"Betrag\" = '0'\n\
         SELECT \"Bon\" AS order_id, any_time(\"Zeit\") AS ordered_at, money(\"Betrag\") AS total FROM raw WHERE \"Betrag\" <> '0' ORDER BY 1\n",
    );
    let text = "Bon;Zeit;Betrag;Kasse\n1;2026-02-01 10:00;12,50 €;A\n2;2026-02-01 11:00;0;A\n";
    let ran = land(&shop, "orders", "till.csv", text, &["--map", "till.sql"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("`Kasse`") && ran.stderr.contains("1 rows are left out: of nothing"), "{}", ran.stderr);
    assert_eq!(rows(&shop, "order_id, ordered_at, total", "orders", "1"), ["1 2026-02-01T09:00:00Z 12.50"]);
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_half_landed() {
    let shop = TinyShop::empty();
    let other = "id,when\n1,2026-02-01\n";
    told(
        &land(&shop, "orders", "other.csv", other, &["--from", "shopify"]),
        1,
        &["land.not_this_export", "`Name`", "other.csv"],
    );
    let torn = SHOPIFY_ORDERS.replace("#1002,bob@example.com,", "#1002,");
    told(&land(&shop, "orders", "torn.csv", &torn, &["--from", "shopify"]), 1, &["land.csv_columns", "torn.csv"]);
    told(&shop.run(&["land", "orders", "other.csv", "--from", "shopfy"]), 2, &["land.unknown_platform", "`shopify`"]);
    told(&shop.run(&["land", "orders", "other.csv", "--from", "klaviyo"]), 2, &["land.no_mapping", "customers"]);
    assert!(shop.files("lake/landing").is_empty(), "{:?}", shop.files("lake/landing"));
}

#[test]
fn the_raw_lines_of_a_real_shop() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/online-retail-raw/lines.csv.gz");
    let Ok(data) = data.canonicalize() else {
        println!("skipped: the raw lines are not here");
        return;
    };
    let shop = TinyShop::empty();
    let file = data.display().to_string();
    for table in ["orders", "customers"] {
        let ran = shop.run(&["land", table, &file, "--from", "online-retail", "--timezone", "Europe/London"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("135080 rows are left out: without a customer"), "{}", ran.stderr);
    }
    assert_eq!(
        shop.rows(
            "SELECT count(*), count(DISTINCT order_id), sum(CASE WHEN returned_quantity > 0 THEN 1 ELSE 0 END) > 5000 FROM landed.order_items"
        ),
        ["397884 18532 true"]
    );
    assert_eq!(shop.rows("SELECT count(*), count(DISTINCT customer_id) FROM landed.orders"), ["18532 4338"]);
    assert_eq!(shop.one("SELECT count(*) FROM landed.customers"), "4372");
}
