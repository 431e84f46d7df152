//! The settings of a signer elsewhere.

use super::*;

#[test]
fn a_signer_elsewhere_takes_the_place_of_every_key_and_signs_for_a_named_account() {
    const URL: &str = "https://user:s3cretword@signer.example:9000/k3y-in-a-path";
    let account = format!("\"operator_address\": \"{ADDRESS}\"");
    let with = |account: &str, env: &[(&str, &str)]| {
        let text = file(&format!("\"operator\": {{\"signer_url\": \"{URL}\"}}"));
        let text = text.replace("\"chain_id\"", &format!("{account}\"chain_id\""));
        load_with(Some(&text), env, &[])
    };
    let named = format!("{account}, ");
    let config = with(&named, &[]).unwrap();
    assert!(
        matches!(&config.operator.key, Some(KeyMaterial::Elsewhere { signer_url }) if signer_url.expose() == URL)
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let hidden = config.hidden_texts();
    for secret in ["s3cretword", "k3y-in-a-path"] {
        assert!(
            hidden.iter().any(|text| text.as_str() == secret),
            "{secret}"
        );
        assert!(!format!("{config:?}").contains(secret), "{secret}");
    }
    let told = with("", &[]).unwrap_err().to_string();
    assert!(
        told.starts_with(
            "blockchain.operator_address is missing: set the account that operator.signer_url is to sign for"
        ),
        "{told}"
    );
    let key = [("LOTTERY_OPERATOR_PRIVATE_KEY", KEY)];
    let told = with(&named, &key).unwrap_err().to_string();
    assert!(
        told.ends_with(
            "allowed is one: environment variable LOTTERY_OPERATOR_PRIVATE_KEY and operator.signer_url"
        ),
        "{told}"
    );
    let text = file("\"operator\": {\"signer_url\": \"signer.example/s3cretword\"}");
    let told = load_with(Some(&text), &[], &[]).unwrap_err().to_string();
    assert!(
        told.contains("operator.signer_url is")
            && told.contains("allowed is http://... or https://..."),
        "{told}"
    );
    assert!(!told.contains("s3cretword"), "{told}");
}
