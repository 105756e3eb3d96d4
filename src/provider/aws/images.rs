//! Machine images: a name that AWS, Canonical or Microsoft publish in SSM, and the id that it stands for now. Looked up
//! once, at review: the same name stands for another image the week after.

use super::access::Session;
use super::failure::Fault;
use super::query::Query;
use crate::domain::step::FailureClass;

/// The id that a published name stands for now.
///
/// # Errors
/// What SSM or the way to it says; the user's, if there is no such name in this region.
pub(super) async fn image(query: &Query, session: &Session, name: &str) -> Result<String, Fault> {
    let value = query.ssm_parameter(session, name).await.map_err(|fault| {
        if fault.code != "ParameterNotFound" {
            return fault;
        }
        let message = format!("no image is published as {name} in {}", session.region());
        Fault {
            message,
            class: FailureClass::User,
            ..fault
        }
    })?;
    if is_image(&value) {
        Ok(value)
    } else {
        let message = format!("what is published as {name} is not the id of an image");
        Err(Fault::answered("ValidationException", &message, 400))
    }
}

fn is_image(value: &str) -> bool {
    let digits = value.strip_prefix("ami-").unwrap_or_default();
    (8..=17).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_id_of_an_image_is_one() {
        assert!(is_image("ami-0c2023a1b2c3d4e5f") && is_image("ami-12345678"));
        for other in [
            "",
            "ami-",
            "ami-1234567",
            "ami-1234567890abcdef01",
            "ami-0c2023a1b2c3d4e5g",
            "snap-12345678",
            "ami-12345678,x",
        ] {
            assert!(!is_image(other), "{other}");
        }
    }
}
